package configs

import _ "embed"

//go:generate go test -run=^TestShippedSchemaIsThatOfTheTypes$ -update .

//go:embed suite.schema.json
var schema string

//go:embed example-suite.yaml
var example string

// Schema is the JSON Schema of the suite file, for editors.
func Schema() string { return schema }

// Example is a commented suite file that Parse accepts.
func Example() string { return example }

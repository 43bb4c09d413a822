package mask

import "custody-nvr/nvr"

// Figures are taken on a grid of one luma sample in 8x8: four a block, each with its right
// neighbour in the same block.
const (
	grid   = 8
	offset = 3
	// changed is the step above which a sample counts as changed; sensor noise stays mostly below.
	changed = 8
)

// A glance remembers the grid samples of the picture painted before.
type glance struct {
	before []byte
	of     *Plan // nil: there is nothing to compare with
}

func (g *glance) forget() { g.of = nil }

// look measures the visible part of the painted picture. Sum is left to the caller.
func (g *glance) look(p *Plan, pic *Planes) nvr.Figures {
	compare := g.of == p
	if !compare {
		g.before = make([]byte, ((p.size.Width+grid-1)/grid)*((p.size.Height+grid-1)/grid))
		g.of = p
	}
	var n, luma, change, edges int
	i := 0
	for y := offset; y < p.size.Height; y += grid {
		row := pic.Y[y*pic.YStride:][:p.size.Width]
		for _, r := range p.spans[y/Block] {
			if r.hidden {
				continue
			}
			for x := r.x0 + offset; x+1 < r.x1; x += grid {
				v := row[x]
				n++
				luma += int(v)
				edges += apart(v, row[x+1])
				if apart(v, g.before[i]) > changed {
					change++
				}
				g.before[i] = v
				i++
			}
		}
	}
	if n == 0 {
		return nvr.Figures{}
	}
	f := nvr.Figures{Luma: uint8(luma / n), Edges: uint16(edges * 100 / n)}
	if compare {
		f.Change = uint16(change * 10000 / n)
	}
	return f
}

func apart(a, b byte) int {
	d := int(a) - int(b)
	if d < 0 {
		return -d
	}
	return d
}

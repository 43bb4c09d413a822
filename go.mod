module custody-nvr

go 1.26.0

require (
	github.com/Eyevinn/mp4ff v0.51.0 // privacy/camera/clip: reads .mp4 clips for the demo; tests: independent reader of our segments
	github.com/a-h/templ v0.3.977 // ui/page: the pages
	github.com/bluenviron/gortsplib/v4 v4.16.2 // privacy/camera: RTSP client; privacy/democamera: RTSP server. v4.16.3 is empty, never above v4.16.2
	github.com/bluenviron/mediacommon/v2 v2.5.2 // privacy/wire, recorder: H.264 parameter sets and MP4 boxes
	github.com/chromedp/cdproto v0.159.0 // tests: Chromium
	github.com/chromedp/chromedp v0.23.0 // tests: Chromium
	github.com/coder/websocket v1.8.15 // ui: the live wall
	github.com/csnewman/ffmpeg-go v0.6.0 // privacy/codec: FFmpeg 6.1 and x264, linked statically (GPL)
	github.com/goccy/go-yaml v1.19.2 // configs: the suite file, with line and column of every mistake
	github.com/google/jsonschema-go v0.4.3 // configs: its JSON Schema
	github.com/landlock-lsm/go-landlock v0.11.0 // privacy/sandbox: second layer of the wall
	github.com/pion/rtp v1.8.21 // privacy/camera, privacy/democamera: RTP packets; the version gortsplib asks for
	github.com/spf13/cobra v1.10.2 // cmd: commands
	go.etcd.io/bbolt v1.5.0 // recorder/archive: the index
	go.uber.org/goleak v1.3.0 // tests: no goroutine outlives its Run
	golang.org/x/sys v0.49.0 // system calls: sandbox, sync, clocks
	pgregory.net/rapid v1.3.0 // tests: properties
)

require kernel.org/pub/linux/libs/security/libcap/psx v1.2.77 // privacy/sandbox: capabilities leave every thread, those of C too

require (
	github.com/a-h/parse v0.0.0-20250122154542-74294addb73e // indirect
	github.com/andybalholm/brotli v1.1.0 // indirect
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	github.com/cli/browser v1.3.0 // indirect
	github.com/fatih/color v1.16.0 // indirect
	github.com/fsnotify/fsnotify v1.7.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/mattn/go-colorable v0.1.13 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/natefinch/atomic v1.0.1 // indirect
	github.com/pion/logging v0.2.3 // indirect
	github.com/pion/randutil v0.1.0 // indirect
	github.com/pion/rtcp v1.2.15 // indirect
	github.com/pion/sdp/v3 v3.0.15 // indirect
	github.com/pion/srtp/v3 v3.0.6 // indirect
	github.com/pion/transport/v3 v3.0.7 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	golang.org/x/mod v0.27.0 // indirect
	golang.org/x/net v0.43.0 // indirect
	golang.org/x/sync v0.20.0 // indirect
	golang.org/x/tools v0.36.0 // indirect
)

tool github.com/a-h/templ/cmd/templ

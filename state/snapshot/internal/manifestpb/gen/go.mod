module github.com/millrace/millrace/state/snapshot/internal/manifestpb/gen

go 1.27

toolchain go1.27.3

require (
	github.com/bufbuild/protocompile v0.14.1
	google.golang.org/protobuf v1.36.12
)

require golang.org/x/sync v0.8.0 // indirect

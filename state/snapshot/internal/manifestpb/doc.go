// Package manifestpb is the wire form of a manifest: Go code generated from
// manifest.proto, and nothing else. Package snapshot turns it into the structs
// that the rest of the engine sees.
//
// After a change of manifest.proto, run go generate in this folder. It needs no
// protoc: gen is a module of its own, so that the compiler it uses is not a
// dependency of the engine.
package manifestpb

//go:generate go -C gen run . ../manifest.proto

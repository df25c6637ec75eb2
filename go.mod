module github.com/millrace/millrace

go 1.27

toolchain go1.27.3

require github.com/cockroachdb/datadriven v1.0.3

require (
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pmezard/go-difflib v1.0.0 // indirect
)

// Word count: how often each word is in the texts of a folder.
//
//	go run ./wordcount --input wordcount/testdata/plays
package main

import (
	"strings"
	"unicode"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/stdio"
)

func main() { millrace.Main("wordcount", wordcount) }

func wordcount(job *millrace.Job) {
	job.From("text", files.Lines(job.Param("input", "wordcount/testdata/plays", "text to read"))).
		FlatMap(words).
		KeyBy(func(word string) string { return word }).
		Window(millrace.Global()).
		Count("counts").
		To("out", stdio.Print[millrace.Result[string, int64]]())
}

func words(line string, emit func(string)) {
	for w := range strings.FieldsFuncSeq(strings.ToLower(line), func(r rune) bool { return !unicode.IsLetter(r) }) {
		emit(w)
	}
}

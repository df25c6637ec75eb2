package millrace_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The rules for code in the documentation: in doc.go the code blocks of the
// package comment, in README.md and docs/*.md those fenced as go.
//
//   - A block with an ellipsis (…) is a fragment, for reading only.
//   - A block that starts with "package" is a whole program. It is compiled,
//     and if it calls millrace.Main started with --help, which builds the job.
//   - A block that is a function literal or statements is compiled as such, one
//     of declarations as the rest of a program. The packages below are imported
//     as they are used, and names of the text's that blocks do not declare come
//     from beside.
func TestCodeInTheDocumentationCompilesAndStarts(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	dir := t.TempDir()
	var programs []string
	n := 0
	for _, s := range snippets(t) {
		if strings.Contains(s.code, "…") {
			continue
		}
		program, err := whole(s.code)
		if err != nil {
			t.Errorf("%s: %v\n%s", s.place, err, s.code)
			continue
		}
		pkg := fmt.Sprintf("snippet%d", n)
		n++
		// Line numbers in what the compiler says count from the block's start.
		file := filepath.Join(dir, pkg+".go")
		if err := os.WriteFile(file, program, 0o666); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, "docs", "testdata", "snippets", pkg, "main.go")] = file
		pkg = "./docs/testdata/snippets/" + pkg
		t.Logf("%s is %s", s.place, pkg)
		if bytes.Contains(program, []byte("millrace.Main(")) {
			programs = append(programs, pkg)
		}
	}
	if n == 0 {
		t.Fatal("the documentation shows no code")
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o666); err != nil {
		t.Fatal(err)
	}
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("./docs/testdata/snippets/snippet%d", i))
	}
	bin := filepath.Join(dir, "bin") + string(filepath.Separator)
	build := exec.CommandContext(t.Context(), "go", append([]string{"build", "-overlay", list, "-o", bin}, all...)...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, p := range programs {
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, filepath.Base(p)), "--help").CombinedOutput()
		if err != nil || !bytes.HasPrefix(out, []byte("Usage: ")) {
			t.Errorf("%s --help: %v\n%s", p, err, out)
		}
	}
}

type snippet struct{ place, code string }

// snippets returns the code of doc.go, README.md and docs/*.md.
func snippets(t *testing.T) (all []snippet) {
	f, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var p comment.Parser
	for _, block := range p.Parse(f.Doc.Text()).Content {
		if c, ok := block.(*comment.Code); ok {
			all = append(all, snippet{fmt.Sprintf("doc.go: block %d", len(all)+1), c.Text})
		}
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("README.md"); err == nil {
		pages = append(pages, "README.md")
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var code *snippet
		for i, line := range strings.Split(string(text), "\n") {
			switch {
			case code == nil && strings.TrimSpace(line) == "```go":
				code = &snippet{place: fmt.Sprintf("%s:%d", page, i+1)}
			case code != nil && strings.TrimSpace(line) == "```":
				all = append(all, *code)
				code = nil
			case code != nil:
				code.code += line + "\n"
			}
		}
	}
	return all
}

// imports are the packages that blocks may use without saying so.
var imports = []string{
	"context", "fmt", "strings", "testing", "time",
	"github.com/millrace/millrace",
	"github.com/millrace/millrace/connectors/datagen",
	"github.com/millrace/millrace/connectors/files",
	"github.com/millrace/millrace/connectors/format/csv",
	"github.com/millrace/millrace/connectors/format/json",
	"github.com/millrace/millrace/connectors/format/parquet",
	"github.com/millrace/millrace/connectors/memory",
	"github.com/millrace/millrace/connectors/stdio",
	"github.com/millrace/millrace/engine/streamtest",
}

// beside declares names that blocks may use without declaring them.
var beside = map[string]string{
	"Reading": "type Reading struct { Device string; Temp float64; At time.Time }",
	"Alert":   "type Alert struct { Device string }",
	"Trip":    "type Trip struct { Zone int; At time.Time }",
}

// whole makes a program of a block of code.
func whole(code string) ([]byte, error) {
	set := token.NewFileSet()
	if f, err := parser.ParseFile(set, "", code, 0); err == nil {
		if f.Name.Name != "main" {
			return nil, fmt.Errorf("package %s is not a program", f.Name.Name)
		}
		return []byte(code), nil
	}
	body := ""
	var err error
	for _, form := range []string{"%s", "var _ = %s", "func _() {\n%s\n}"} {
		body = fmt.Sprintf(form, strings.TrimSpace(code)) + "\n"
		if _, err = parser.ParseFile(set, "", "package main\n"+body, 0); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	f, err := parser.ParseFile(set, "", "package main\n"+body, 0)
	if err != nil {
		return nil, err
	}
	missing := unresolved(f)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range beside {
			if !yield(name) {
				return
			}
		}
	}) {
		if missing[name] {
			body += beside[name] + "\n"
		}
	}
	if f, err = parser.ParseFile(set, "", "package main\n"+body, 0); err != nil {
		return nil, err
	}
	missing = unresolved(f)
	head := "package main\n"
	for _, path := range imports {
		if missing[path[strings.LastIndex(path, "/")+1:]] {
			head += fmt.Sprintf("import %q\n", path)
		}
	}
	if f.Scope.Lookup("main") == nil {
		body += "func main() {}\n"
	}
	return format.Source([]byte(head + body))
}

// unresolved returns the names that a file uses and does not declare.
func unresolved(f *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, id := range f.Unresolved {
		names[id.Name] = true
	}
	return names
}

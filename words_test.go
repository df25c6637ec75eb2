package millrace_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestFlinksWordsAreGivenNamesThatExist(t *testing.T) {
	known := map[string]bool{}
	for _, dir := range []string{".", "engine/streamtest", "runtime/operator", "engine/local"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					known[n.Name.Name] = true
					return false
				case *ast.TypeSpec:
					known[n.Name.Name] = true
				case *ast.Field:
					for _, id := range n.Names {
						known[id.Name] = true
					}
				}
				return true
			})
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "## Flink's words")
	table, _, _ = strings.Cut(table, "\n## ")
	n := 0
	for line := range strings.Lines(table) {
		_, ours, ok := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		if !ok {
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(ours, -1) {
			if strings.HasPrefix(m[1], "--") {
				continue
			}
			n++
			for part := range strings.SplitSeq(strings.TrimPrefix(m[1], "streamtest."), ".") {
				if !known[part] {
					t.Errorf("%s: there is no %s", m[1], part)
				}
			}
		}
	}
	if n < 50 {
		t.Errorf("found %d names only", n)
	}
}

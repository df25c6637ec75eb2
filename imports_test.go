package millrace_test

import (
	"encoding/json"
	"os/exec"
	"path"
	"strings"
	"testing"
)

// allowed lists, for each top-level folder, the folders it may import. The
// root package is ".". Adding an edge is a design decision: the commit that
// adds it says why.
var allowed = map[string]string{
	"state":      "",
	"runtime":    "state",
	"engine":     "runtime state",
	"yarn":       "engine",
	".":          "engine runtime state yarn",
	"connectors": ". state",
	"benchmarks": ". connectors engine runtime state",
	"cmd":        ". connectors engine runtime state yarn benchmarks",
}

// Leaves may be imported by anybody; streamtest is written against the root
// package and so stands beside it.
var leaves = map[string]bool{"runtime/clock": true, "runtime/invariant": true}

const module = "github.com/millrace/millrace"

func TestImportsPointDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for dec.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		from := folder(p.ImportPath)
		if from == "engine/streamtest" {
			from = "connectors"
		}
		may, ok := allowed[from]
		if !ok {
			t.Errorf("%s: folder %q is not in the table", p.ImportPath, from)
			continue
		}
		for _, imp := range p.Imports {
			if imp != module && !strings.HasPrefix(imp, module+"/") {
				continue
			}
			if leaves[strings.TrimPrefix(imp, module+"/")] {
				continue
			}
			to := folder(imp)
			if to == from || p.ImportPath == module+"/engine/streamtest" && to == "engine" {
				continue
			}
			found := false
			for _, a := range strings.Fields(may) {
				found = found || a == to || to == "engine/streamtest" && a == "engine"
			}
			if !found {
				t.Errorf("%s imports %s: %s may import only [%s]", p.ImportPath, imp, from, may)
			}
		}
	}
}

// folder is the top-level folder of an import path, "." for the root package.
func folder(p string) string {
	rel := strings.TrimPrefix(strings.TrimPrefix(p, module), "/")
	if rel == "" {
		return "."
	}
	if rel == "engine/streamtest" {
		return rel
	}
	top, _, _ := strings.Cut(rel, "/")
	return path.Clean(top)
}

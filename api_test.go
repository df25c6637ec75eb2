package millrace_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace"
)

// The compiler finds some mistakes in generic code only where it is used, so
// every generic function and method of the package is used here. Methods that
// are new have their line below; TestEveryGenericMethodIsCompiled misses them
// otherwise.
var _ = []any{

	// async.go
	millrace.Stream[int64].Async[int64],
	millrace.Stream[int64].AsyncOrDead[int64, int64],
	millrace.Stream[int64].AsyncBatch[int64],
	millrace.Stream[int64].AsyncBatchOrDead[int64, int64],

	// broadcast.go
	millrace.Stream[int64].BroadcastState[string],
	millrace.BroadcastState[string, int64].ReadFirst,
	millrace.View[string, int64].Get,
	millrace.View[string, int64].Load,
	millrace.View[string, int64].Ref,
	millrace.View[string, int64].All,
	millrace.View[string, int64].Len,
	millrace.KeyedStream[string, int64].With[string, int64],
	millrace.KeyedWith[string, int64, string, int64].Process[int64],
	millrace.Stream[int64].With[string, int64],
	millrace.StreamWith[int64, string, int64].Process[int64],
	millrace.KeyedStream[string, int64].ConnectBroadcast[int64],
	millrace.KeyedBroadcast[string, int64, int64].Process[int64],
	(*millrace.BroadcastOp[string, int64, int64, int64]).OnBroadcast,
	(*millrace.BroadcastOp[string, int64, int64, int64]).OnBroadcastEnd,
	(*millrace.BroadcastOp[string, int64, int64, int64]).ReadFirst,
	(*millrace.BroadcastOp[string, int64, int64, int64]).Table[string, int64],
	(*millrace.BroadcastOp[string, int64, int64, int64]).ForEachKey,
	millrace.Stream[int64].ConnectBroadcast[int64],
	millrace.PlainBroadcast[int64, int64].Process[int64],
	(*millrace.PlainBroadcastOp[int64, int64, int64]).OnBroadcast,
	(*millrace.PlainBroadcastOp[int64, int64, int64]).OnBroadcastEnd,
	(*millrace.PlainBroadcastOp[int64, int64, int64]).ReadFirst,
	(*millrace.PlainBroadcastOp[int64, int64, int64]).Table[string, int64],
	(*millrace.BroadcastTable[string, int64]).Set,
	(*millrace.BroadcastTable[string, int64]).Delete,
	(*millrace.BroadcastTable[string, int64]).Clear,

	// connect.go
	millrace.Stream[int64].Connect[int64],
	millrace.Connected[int64, int64].Process[int64],
	millrace.Connected[int64, int64].Map[int64],
	millrace.Connected[int64, int64].FlatMap[int64],
	(*millrace.PlainOp2[int64, int64, int64]).OnLeft,
	(*millrace.PlainOp2[int64, int64, int64]).OnLeftRef,
	(*millrace.PlainOp2[int64, int64, int64]).OnRight,
	(*millrace.PlainOp2[int64, int64, int64]).OnRightRef,
	(*millrace.PlainOp2[int64, int64, int64]).OnLeftEnd,
	(*millrace.PlainOp2[int64, int64, int64]).OnRightEnd,
	millrace.KeyedStream[string, int64].Connect[int64],
	millrace.KeyedConnected[string, int64, int64].Process[int64],
	(*millrace.Op2[string, int64, int64, int64]).OnLeft,
	(*millrace.Op2[string, int64, int64, int64]).OnLeftRef,
	(*millrace.Op2[string, int64, int64, int64]).OnRight,
	(*millrace.Op2[string, int64, int64, int64]).OnRightRef,
	(*millrace.Op2[string, int64, int64, int64]).OnLeftEnd,
	(*millrace.Op2[string, int64, int64, int64]).OnRightEnd,

	// dedup.go
	millrace.KeyedStream[string, int64].Deduplicate[struct{}],
	millrace.KeyedStream[string, int64].DeduplicateLate[struct{}],

	// job.go
	(*millrace.Job).From[int64],

	// join.go
	millrace.KeyedStream[string, int64].IntervalJoin[int64],
	millrace.Pairs[string, int64, int64].FromExclusive,
	millrace.Pairs[string, int64, int64].ToExclusive,
	millrace.Pairs[string, int64, int64].LateLeft,
	millrace.Pairs[string, int64, int64].LateRight,
	millrace.Pairs[string, int64, int64].Inner[int64],
	millrace.Pairs[string, int64, int64].InnerRef[int64],
	millrace.Pairs[string, int64, int64].Left[int64],
	millrace.Pairs[string, int64, int64].Right[int64],
	millrace.Pairs[string, int64, int64].Full[int64],

	// keyed.go
	millrace.KeyedStream[string, int64].Count[struct{}],
	millrace.KeyedStream[string, int64].Reduce[struct{}],
	millrace.KeyedStream[string, int64].Sum[int64],
	millrace.KeyedStream[string, int64].Min[string],
	millrace.KeyedStream[string, int64].Max[string],
	millrace.KeyedStream[string, int64].MinBy[string],
	millrace.KeyedStream[string, int64].MaxBy[string],

	// pattern.go
	millrace.Begin[int64],
	millrace.BeginGroup[int64],
	millrace.KeyedStream[string, int64].Detect[int64],
	millrace.KeyedStream[string, int64].DetectTimeouts[int64, int64],
	millrace.KeyedStream[string, int64].DetectAll[int64, int64],

	// process.go
	(*millrace.OpContext[int64]).Emit,
	(*millrace.OpContext[int64]).Next,
	(*millrace.OpContext[int64]).Time,
	(*millrace.OpContext[int64]).TimeMillis,
	(*millrace.OpContext[int64]).Watermark,
	(*millrace.OpContext[int64]).WatermarkMillis,
	(*millrace.OpContext[int64]).Now,
	(*millrace.OpContext[int64]).Context,
	(*millrace.OpContext[int64]).Subtask,
	(*millrace.OpContext[int64]).Counter,
	(*millrace.OpContext[int64]).OnFinish,
	(*millrace.OpContext[int64]).OnClose,
	(*millrace.OpContext[int64]).OnSnapshot,
	(*millrace.OpContext[int64]).OnRestore,
	(*millrace.OpContext[int64]).SideOutput[int64],
	millrace.NewSideOutput[int64],
	millrace.SideOutput[int64].Name,
	millrace.Stream[int64].SideOutput[int64],
	(*millrace.KeyedContext[string, int64]).Key,
	(*millrace.KeyedContext[string, int64]).OnTimer,
	(*millrace.KeyedContext[string, int64]).OnTimerMillis,
	(*millrace.KeyedContext[string, int64]).OnProcessingTimer,
	(*millrace.KeyedContext[string, int64]).SetTimer,
	(*millrace.KeyedContext[string, int64]).SetTimerMillis,
	(*millrace.KeyedContext[string, int64]).ClearTimer,
	(*millrace.KeyedContext[string, int64]).SetProcessingTimer,
	(*millrace.KeyedContext[string, int64]).ClearProcessingTimer,
	millrace.KeyedStream[string, int64].Process[int64],
	(*millrace.Op[string, int64, int64]).OnRecord,
	(*millrace.Op[string, int64, int64]).OnRecordRef,
	millrace.Stream[int64].Process[int64],
	(*millrace.PlainOp[int64, int64]).OnRecord,
	(*millrace.PlainOp[int64, int64]).OnRecordRef,

	// process_harness.go
	millrace.NewHarness[string, int64, int64],
	millrace.NewHarness2[string, int64, int64, int64],
	millrace.NewPlainHarness[int64, int64],
	(*millrace.Harness[int64]).Start,
	(*millrace.Harness[int64]).SendKeyed[string, int64],
	(*millrace.Harness[int64]).Send[int64],
	(*millrace.Harness[int64]).Watermark,
	(*millrace.Harness[int64]).ProcessingTime,
	(*millrace.Harness[int64]).EndInput,
	(*millrace.Harness[int64]).Finish,
	(*millrace.Harness[int64]).Close,
	(*millrace.Harness[int64]).Restart,
	(*millrace.Harness[int64]).Output,
	(*millrace.Harness[int64]).SideOutput[int64],

	// reorder.go
	millrace.Stream[int64].SortByEventTime[struct{}],
	millrace.Stream[int64].SortByEventTimeLate[struct{}],
	millrace.KeyedStream[string, int64].SortByEventTime[struct{}],
	millrace.KeyedStream[string, int64].SortByEventTimeLate[struct{}],

	// source.go
	(*millrace.Rows[int64]).Room,
	(*millrace.Rows[int64]).Len,
	(*millrace.Rows[int64]).Append,
	(*millrace.Rows[int64]).AppendAt,
	(*millrace.Rows[int64]).Next,
	(*millrace.Rows[int64]).NextAt,
	(*millrace.Rows[int64]).Fill,
	(*millrace.Rows[int64]).Wait,
	(*millrace.Rows[int64]).Bad,
	millrace.NewRows[int64],
	(*millrace.Rows[int64]).Records,
	(*millrace.Rows[int64]).Times,
	(*millrace.Rows[int64]).BadRecords,
	(*millrace.Rows[int64]).WaitFor,
	(*millrace.Rows[int64]).Reset,

	// state.go
	(*millrace.KeyedContext[string, int64]).Value[int64],
	(*millrace.KeyedContext[string, int64]).List[int64],
	(*millrace.KeyedContext[string, int64]).Map[string, int64],
	(*millrace.KeyedContext[string, int64]).OrderedMap[string, int64],
	(*millrace.KeyedContext[string, int64]).Reducing[int64],
	(*millrace.KeyedContext[string, int64]).Aggregating[int64, int64, int64],
	(*millrace.Value[int64]).Get,
	(*millrace.Value[int64]).Load,
	(*millrace.Value[int64]).Set,
	(*millrace.Value[int64]).Ref,
	(*millrace.Value[int64]).Clear,
	(*millrace.List[int64]).Add,
	(*millrace.List[int64]).AddAll,
	(*millrace.List[int64]).Replace,
	(*millrace.List[int64]).All,
	(*millrace.List[int64]).Len,
	(*millrace.List[int64]).Clear,
	(*millrace.Map[string, int64]).Get,
	(*millrace.Map[string, int64]).Load,
	(*millrace.Map[string, int64]).Has,
	(*millrace.Map[string, int64]).Set,
	(*millrace.Map[string, int64]).Ref,
	(*millrace.Map[string, int64]).Delete,
	(*millrace.Map[string, int64]).All,
	(*millrace.Map[string, int64]).Len,
	(*millrace.Map[string, int64]).Clear,
	(*millrace.OrderedMap[string, int64]).Get,
	(*millrace.OrderedMap[string, int64]).Load,
	(*millrace.OrderedMap[string, int64]).Set,
	(*millrace.OrderedMap[string, int64]).Ref,
	(*millrace.OrderedMap[string, int64]).Delete,
	(*millrace.OrderedMap[string, int64]).DeleteRange,
	(*millrace.OrderedMap[string, int64]).First,
	(*millrace.OrderedMap[string, int64]).Last,
	(*millrace.OrderedMap[string, int64]).All,
	(*millrace.OrderedMap[string, int64]).Range,
	(*millrace.OrderedMap[string, int64]).From,
	(*millrace.OrderedMap[string, int64]).Before,
	(*millrace.OrderedMap[string, int64]).Backward,
	(*millrace.OrderedMap[string, int64]).RangeBackward,
	(*millrace.OrderedMap[string, int64]).Len,
	(*millrace.OrderedMap[string, int64]).Clear,
	(*millrace.Reducing[int64]).Get,
	(*millrace.Reducing[int64]).Load,
	(*millrace.Reducing[int64]).Add,
	(*millrace.Reducing[int64]).Clear,
	(*millrace.Aggregating[int64, int64, int64]).Get,
	(*millrace.Aggregating[int64, int64, int64]).Load,
	(*millrace.Aggregating[int64, int64, int64]).Add,
	(*millrace.Aggregating[int64, int64, int64]).Clear,
	(*millrace.OpContext[int64]).ListState[int64],
	(*millrace.OpContext[int64]).UnionListState[int64],

	// stream.go
	millrace.Stream[int64].Named,
	millrace.Stream[int64].Parallelism,
	millrace.Stream[int64].StartNewChain,
	millrace.Stream[int64].DisableChaining,
	millrace.Stream[int64].Map[int64],
	millrace.Stream[int64].MapTo[int64],
	millrace.Stream[int64].Update,
	millrace.Stream[int64].Filter,
	millrace.Stream[int64].FilterRef,
	millrace.Stream[int64].FlatMap[int64],
	millrace.Stream[int64].FlatMapRef[int64],
	millrace.Stream[int64].TryMap[int64],
	millrace.Stream[int64].MapOrDead[int64, int64],
	millrace.DeadLetterOf[int64],
	millrace.Stream[int64].BadRecords[struct{}],
	millrace.Stream[int64].Union,
	millrace.Stream[int64].Rebalance,
	millrace.Stream[int64].Rescale,
	millrace.Stream[int64].Forward,
	millrace.Stream[int64].Shuffle,
	millrace.Stream[int64].Broadcast,
	millrace.Stream[int64].Global,
	millrace.Stream[int64].PartitionCustom,
	millrace.Stream[int64].EventTime,
	millrace.Stream[int64].EventTimeMillis,
	millrace.Stream[int64].Timestamps,
	millrace.Stream[int64].To,
	millrace.Stream[int64].KeyBy[string],
	millrace.Stream[int64].KeyByRef[string],

	// window.go
	millrace.SessionBy[int64],
	millrace.KeyedStream[string, int64].Window[struct{}],
	millrace.Stream[int64].WindowAll[struct{}],
	millrace.WindowedStream[string, int64].Trigger,
	millrace.WindowedStream[string, int64].Evictor,
	millrace.WindowedStream[string, int64].AllowedLateness,
	millrace.WindowedStream[string, int64].LateTo[struct{}],
	millrace.WindowedStream[string, int64].Late,
	millrace.WindowedStream[string, int64].Count[struct{}],
	millrace.WindowedStream[string, int64].Reduce[struct{}],
	millrace.WindowedStream[string, int64].ReduceRef[struct{}],
	millrace.WindowedStream[string, int64].Aggregate[int64, int64],
	millrace.WindowedStream[string, int64].AggregateApply[int64, int64, int64],
	millrace.WindowedStream[string, int64].Apply[int64],

	// window_aggregate.go
	millrace.Counts[int64],
	millrace.Sum[int64, int64],
	millrace.SumRef[int64, int64],
	millrace.Min[int64, int64],
	millrace.Max[int64, int64],
	millrace.Avg[int64, int64],
	millrace.TopBy[int64],

	// window_evict.go
	millrace.Evictor[int64].After,
	millrace.EvictCount[int64],
	millrace.EvictTime[int64],
	millrace.EvictDelta[int64],
	millrace.EvictBy[int64],

	// window_join.go
	millrace.KeyedStream[string, int64].WindowJoin[int64],
	millrace.WindowJoin[string, int64, int64].Trigger,
	millrace.WindowJoin[string, int64, int64].AllowedLateness,
	millrace.WindowJoin[string, int64, int64].CoGroup[int64],
	millrace.WindowJoin[string, int64, int64].Inner[int64],
	millrace.WindowJoin[string, int64, int64].Left[int64],
	millrace.WindowJoin[string, int64, int64].Right[int64],
	millrace.WindowJoin[string, int64, int64].Full[int64],

	// window_process.go
	millrace.WindowedStream[string, int64].Process[int64],
	millrace.WindowedStream[string, int64].AggregateProcess[int64, int64, int64],
	(*millrace.WindowOp[string, int64, int64]).OnWindow,
	(*millrace.WindowOp[string, int64, int64]).OnClear,
	(*millrace.WindowOp[string, int64, int64]).Emit,
	(*millrace.WindowOp[string, int64, int64]).Key,
	(*millrace.WindowOp[string, int64, int64]).Window,
	(*millrace.WindowOp[string, int64, int64]).Firing,
	(*millrace.WindowOp[string, int64, int64]).Watermark,
	(*millrace.WindowOp[string, int64, int64]).Now,
	(*millrace.WindowOp[string, int64, int64]).WindowValue[int64],
	(*millrace.WindowOp[string, int64, int64]).SideOutput[int64],
	(*millrace.WindowSide[int64]).Emit,
	(*millrace.WindowValue[int64]).Get,
	(*millrace.WindowValue[int64]).Load,
	(*millrace.WindowValue[int64]).Set,
	(*millrace.WindowValue[int64]).Ref,
	(*millrace.WindowValue[int64]).Clear,

	// window_trigger.go
	millrace.DeltaTrigger[int64],
}

func TestEveryGenericMethodIsCompiled(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	generic := map[string]bool{}
	var funcs []*ast.FuncDecl
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() {
					funcs = append(funcs, d)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if s, ok := s.(*ast.TypeSpec); ok && s.TypeParams != nil {
						generic[s.Name.Name] = true
					}
				}
			}
		}
	}
	used := usedHere(t)
	for _, f := range funcs {
		name := f.Name.Name
		if f.Recv != nil {
			of := base(f.Recv.List[0].Type)
			if !ast.IsExported(of) {
				continue
			}
			name = of + "." + name
			if !generic[of] && f.Type.TypeParams == nil {
				continue
			}
		} else if f.Type.TypeParams == nil {
			continue
		}
		if !used[name] {
			t.Errorf("%s is not in the list of api_test.go", name)
		}
	}
}

// usedHere returns what the list above names.
func usedHere(t *testing.T) map[string]bool {
	f, err := parser.ParseFile(token.NewFileSet(), "api_test.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			name := s.Sel.Name
			if of := base(s.X); of != "millrace" {
				name = of + "." + name
			}
			used[name] = true
		}
		return true
	})
	return used
}

// base is the name of a type without its package, star and arguments.
func base(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.ParenExpr:
		return base(x.X)
	case *ast.StarExpr:
		return base(x.X)
	case *ast.IndexExpr:
		return base(x.X)
	case *ast.IndexListExpr:
		return base(x.X)
	case *ast.SelectorExpr:
		return x.Sel.Name
	case *ast.Ident:
		return x.Name
	}
	return ""
}

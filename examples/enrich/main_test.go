package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/examples/internal/exampletest"
)

// service answers for every user, at the third time of asking only: a click's
// three attempts are enough even if no other click of the user asks.
type service struct {
	mu    sync.Mutex
	asked map[string]int
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user := path.Base(r.URL.Path)
	s.mu.Lock()
	s.asked[user]++
	n := s.asked[user]
	s.mu.Unlock()
	if n < 3 {
		http.Error(w, "come back later", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, `{"Country":"XX","Plan":"plan of %s"}`, user)
}

func TestClicksGetProfilesFromAServiceThatIsBusyAtFirst(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, opt millrace.RunOptions) {
		srv := httptest.NewServer(&service{asked: map[string]int{}})
		defer srv.Close()
		opt.Params = map[string]string{"clicks": "testdata/clicks.json", "profiles": srv.URL + "/users/"}
		got := exampletest.Output(t, opt, enrich)
		for _, want := range []string{
			"{Click:{User:ann Page:/} Profile:{Country:XX Plan:plan of ann}}",
			"{Click:{User:bo Page:/buy} Profile:{Country:XX Plan:plan of bo}}",
			"{Click:{User:cy Page:/docs} Profile:{Country:XX Plan:plan of cy}}",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("printed\n%s\nwithout %s", got, want)
			}
		}
		if n := strings.Count(got, "\n"); n != 5 {
			t.Errorf("%d lines, want 5", n)
		}
	})
}

func TestServiceThatNeverAnswersEndsTheJobAndNamesTheUser(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	opt := millrace.RunOptions{Params: map[string]string{"clicks": "testdata/clicks.json", "profiles": srv.URL + "/"}}
	err := millrace.RunWith(t.Context(), "enrich", opt, enrich)
	if err == nil || !strings.Contains(err.Error(), "profile of ") || !strings.Contains(err.Error(), "404 Not Found") {
		t.Errorf("error is %v", err)
	}
}

func TestSampleData(t *testing.T) {
	t.Chdir("..") // where the README says to start it
	exampletest.Prints(t, enrich, nil, `
		{Click:{User:ann Page:/} Profile:{Country:SE Plan:free}}
		{Click:{User:bo Page:/prices} Profile:{Country:KR Plan:team}}
		{Click:{User:ann Page:/prices} Profile:{Country:SE Plan:free}}
		{Click:{User:cy Page:/docs} Profile:{Country:CL Plan:free}}
		{Click:{User:bo Page:/buy} Profile:{Country:KR Plan:team}}`)
}

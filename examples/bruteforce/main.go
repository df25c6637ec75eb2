// Three failed logins and then a good one within five minutes.
//
//	go run ./bruteforce --logins bruteforce/testdata/logins.json
package main

import (
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/format/json"
	"github.com/millrace/millrace/connectors/stdio"
)

type Login struct {
	User, From string
	OK         bool
	At         time.Time
}
type Break struct {
	User     string
	From, To time.Time
}

func main() { millrace.Main("bruteforce", bruteForce) }

func bruteForce(job *millrace.Job) {
	logins := job.From("logins", files.Read(job.Param("logins", "bruteforce/testdata/logins.json", "logins tried"), json.Of[Login]())).
		EventTime(func(l Login) time.Time { return l.At }, 10*time.Second)

	guessed := millrace.Begin("fail", func(l Login) bool { return !l.OK }).Times(3).
		Next("in", func(l Login) bool { return l.OK }).
		Within(5 * time.Minute)

	logins.KeyBy(func(l Login) string { return l.User }).
		Detect("guessed", guessed, func(user string, m millrace.Match[Login]) Break {
			return Break{User: user, From: m.First("fail").At, To: m.First("in").At}
		}).
		To("out", stdio.Print[Break](stdio.Options{JSON: true}))
}

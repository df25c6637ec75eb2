// Package checkpoint decides.
package checkpoint

package millrace

// lazy is the type parameter of methods that need none. The compiler makes all
// plain methods of a generic type as soon as the type is used, and all methods
// of the types those mention, and so on; a method with type parameters it
// makes only where it is called. Without it a program of one Map compiled
// windows and rolling aggregates of five types and took 34 CPU-seconds where
// it now takes one. It is never written in a call: its only type is inferred.
//
// Methods that lead to a large operator or to a stream of another type have it.
type lazy interface{ struct{} }

//go:build rocksdb && cgo

// What package rocks needs of RocksDB beside its C interface: whole batches in
// one call each, in the packed forms of package cold, and filters and merges
// that never call back into Go.
//
// Messages come back in *err, which is NULL where all went well, and are freed
// with free. Buffers belong to the caller; none is kept.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The clocks of what expires, and counters. Options share them: they may be freed while a
// database goes on.
typedef struct millrace_clocks millrace_clocks;
// Prefixes lie back to back, ends says where each ends, lists which kinds are.
millrace_clocks* millrace_clocks_new(const char* prefixes, const uint32_t* ends,
                                     const uint8_t* lists, size_t n);
void millrace_clocks_set(millrace_clocks*, size_t kind, int64_t now);
void millrace_clocks_free(millrace_clocks*);
// How many flushes and compactions have ended in databases with these clocks,
// the bytes that they wrote, and how often writes were slowed down or stopped.
void millrace_events(millrace_clocks*, int64_t* flushes, int64_t* compactions, int64_t* stalls,
                     int64_t* written);

// Completes a rocksdb_options_t: file system, merge operator, filter.
void millrace_options(void* options, millrace_clocks* clocks);

// A view of an open rocksdb_t that knows which column family has the entries
// of which key group: family[i] has those from group first[i] on, up to
// first[i+1]; first[0] is 0.
typedef struct millrace_db millrace_db;
millrace_db* millrace_db_new(void* db, void** families, size_t n, const uint32_t* first,
                             const uint32_t* family, size_t spans);
void millrace_db_free(millrace_db*);

// Memory of a look-up, for one call at a time.
typedef struct millrace_reader millrace_reader;
millrace_reader* millrace_reader_new(void);
void millrace_reader_free(millrace_reader*);
// Looks keys up from place `from` on, which is 0 or what the last call answered,
// and appends the values to out, of which *used bytes are taken. Answers how
// many keys are done; where that is fewer than n, out must grow to *need bytes.
size_t millrace_multiget(millrace_db*, millrace_reader*, const char* keys, const uint32_t* ends,
                         size_t n, size_t from, char* out, size_t cap, size_t* used,
                         uint32_t* out_ends, uint8_t* found, size_t* need, char** err);

void millrace_write(millrace_db*, const char* packed, size_t n, char** err);
// Goes on after a disk was full.
void millrace_resume(millrace_db*, char** err);

typedef struct millrace_run millrace_run;
millrace_run* millrace_run_new(millrace_db*, const char* dir, size_t file_bytes);
void millrace_run_add(millrace_run*, const char* packed, size_t n, char** err);
void millrace_run_ingest(millrace_run*, char** err);
void millrace_run_free(millrace_run*);

typedef struct millrace_scan millrace_scan;
// A NULL upper means to the end.
millrace_scan* millrace_scan_new(millrace_db*, const char* lower, size_t lower_n,
                                 const char* upper, size_t upper_n);
// Fills buf with packed puts; answers their bytes and number. None at all mean
// the end where *need is 0, else that buf must have that many bytes.
size_t millrace_scan_next(millrace_scan*, char* buf, size_t cap, size_t* ops, size_t* need,
                          char** err);
void millrace_scan_free(millrace_scan*);

// Removes lower <= key < upper from a family: whole files at once, the rest by
// a mark.
void millrace_clip(millrace_db*, size_t family, const char* lower, size_t lower_n,
                   const char* upper, size_t upper_n, char** err);
// Compacts a range in all families, to the last level.
void millrace_compact(millrace_db*, const char* lower, size_t lower_n, const char* upper,
                      size_t upper_n, char** err);
// The identity of a table that RocksDB gave it, in hex: at most 48 digits.
size_t millrace_identity(const char* path, char* id, char** err);

#ifdef __cplusplus
}
#endif

//go:build rocksdb && cgo

#include "shim.h"

#include <rocksdb/compaction_filter.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/listener.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/unique_id.h>
#include <rocksdb/write_batch.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

using namespace ROCKSDB_NAMESPACE;

// ---- what expires

namespace {

struct Kind {
  std::string prefix;
  bool lists;
  std::atomic<int64_t> now{0};
};

struct Clocks {
  std::vector<Kind> kinds;
  std::atomic<int64_t> flushes{0}, compactions{0}, stalls{0}, written{0};
  explicit Clocks(size_t n) : kinds(n) {}
};

class Events : public EventListener {
 public:
  explicit Events(std::shared_ptr<Clocks> c) : clocks_(std::move(c)) {}
  void OnFlushCompleted(DB*, const FlushJobInfo& i) override {
    clocks_->flushes++;
    clocks_->written += i.table_properties.data_size;
  }
  void OnCompactionCompleted(DB*, const CompactionJobInfo& i) override {
    clocks_->compactions++;
    clocks_->written += i.stats.total_output_bytes;
  }
  void OnStallConditionsChanged(const WriteStallInfo& i) override {
    if (i.condition.cur != WriteStallCondition::kNormal) clocks_->stalls++;
  }

 private:
  std::shared_ptr<Clocks> clocks_;
};

bool Expired(const char* p, int64_t now) {
  int64_t t;
  memcpy(&t, p, 8);
  return t != 0 && t <= now;
}

class Expiry : public CompactionFilter {
 public:
  explicit Expiry(std::shared_ptr<Clocks> c) : clocks_(std::move(c)) {}
  const char* Name() const override { return "millrace.expiry"; }

  Decision FilterV2(int, const Slice& key, ValueType type, const Slice& value,
                    std::string* changed, std::string*) const override {
    for (const Kind& k : clocks_->kinds) {
      const size_t n = k.prefix.size();
      if (key.size() < 2 + n || memcmp(key.data() + 2, k.prefix.data(), n) != 0) continue;
      const int64_t now = k.now.load(std::memory_order_relaxed);
      if (k.lists) return List(value, now, changed);
      // To expire is for whole values: an operand is not one.
      if (type == ValueType::kValue && value.size() >= 8 && Expired(value.data(), now))
        return Decision::kRemove;
      return Decision::kKeep;
    }
    return Decision::kKeep;
  }

 private:
  static Decision List(const Slice& value, int64_t now, std::string* changed) {
    const char *const begin = value.data(), *const end = begin + value.size();
    bool dropped = false;
    for (const char* p = begin; p < end;) {
      uint32_t n = 0;
      if (end - p < 4) return Decision::kKeep;  // not a list
      memcpy(&n, p, 4);
      const size_t size = size_t{n} + 4;
      if (size > size_t(end - p)) return Decision::kKeep;
      if (size >= 12 && Expired(p + 4, now)) {
        if (!dropped) changed->assign(begin, p - begin);
        dropped = true;
      } else if (dropped) {
        changed->append(p, size);
      }
      p += size;
    }
    if (!dropped) return Decision::kKeep;
    return changed->empty() ? Decision::kRemove : Decision::kChangeValue;
  }

  std::shared_ptr<Clocks> clocks_;
};

// Appends operands, the older first.
class Append : public MergeOperator {
 public:
  const char* Name() const override { return "millrace.append"; }

  bool FullMergeV2(const MergeOperationInput& in, MergeOperationOutput* out) const override {
    size_t n = in.existing_value ? in.existing_value->size() : 0;
    for (const Slice& s : in.operand_list) n += s.size();
    out->new_value.reserve(n);
    if (in.existing_value)
      out->new_value.assign(in.existing_value->data(), in.existing_value->size());
    for (const Slice& s : in.operand_list) out->new_value.append(s.data(), s.size());
    return true;
  }

  bool PartialMergeMulti(const Slice&, const std::deque<Slice>& operands, std::string* out,
                         Logger*) const override {
    for (const Slice& s : operands) out->append(s.data(), s.size());
    return true;
  }
};

// ---- a file system that does not wait for the disk: a store is lost with its
// process anyway, and who keeps a checkpoint brings it to where it is durable.

class Unsynced : public FSWritableFileOwnerWrapper {
 public:
  using FSWritableFileOwnerWrapper::FSWritableFileOwnerWrapper;
  IOStatus Sync(const IOOptions& o, IODebugContext* d) override { return Flush(o, d); }
  IOStatus Fsync(const IOOptions& o, IODebugContext* d) override { return Flush(o, d); }
};

class UnsyncedDirectory : public FSDirectoryWrapper {
 public:
  explicit UnsyncedDirectory(std::unique_ptr<FSDirectory>&& t)
      : FSDirectoryWrapper(std::move(t)) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus FsyncWithDirOptions(const IOOptions&, IODebugContext*,
                               const DirFsyncOptions&) override {
    return IOStatus::OK();
  }
};

class Disk : public FileSystemWrapper {
 public:
  Disk() : FileSystemWrapper(FileSystem::Default()) {}
  const char* Name() const override { return "millrace.disk"; }

  IOStatus NewWritableFile(const std::string& name, const FileOptions& o,
                           std::unique_ptr<FSWritableFile>* f, IODebugContext* d) override {
    return Wrap(target()->NewWritableFile(name, o, f, d), f);
  }
  IOStatus ReopenWritableFile(const std::string& name, const FileOptions& o,
                              std::unique_ptr<FSWritableFile>* f, IODebugContext* d) override {
    return Wrap(target()->ReopenWritableFile(name, o, f, d), f);
  }
  IOStatus ReuseWritableFile(const std::string& name, const std::string& old,
                             const FileOptions& o, std::unique_ptr<FSWritableFile>* f,
                             IODebugContext* d) override {
    return Wrap(target()->ReuseWritableFile(name, old, o, f, d), f);
  }
  IOStatus NewDirectory(const std::string& name, const IOOptions& o,
                        std::unique_ptr<FSDirectory>* r, IODebugContext* d) override {
    IOStatus s = target()->NewDirectory(name, o, r, d);
    if (s.ok()) r->reset(new UnsyncedDirectory(std::move(*r)));
    return s;
  }
  IOStatus SyncFile(const std::string&, const FileOptions&, const IOOptions&, bool,
                    IODebugContext*) override {
    return IOStatus::OK();
  }

 private:
  static IOStatus Wrap(IOStatus s, std::unique_ptr<FSWritableFile>* f) {
    if (s.ok()) f->reset(new Unsynced(std::move(*f)));
    return s;
  }
};

Env* SharedEnv() {
  static Env* env = NewCompositeEnv(std::make_shared<Disk>()).release();
  return env;
}

void Fail(char** err, const std::string& message) {
  if (*err == nullptr) *err = strdup(message.c_str());
}

// An empty Go slice may come as a null pointer, which a Slice must not have.
Slice Bytes(const char* p, size_t n) { return Slice(p ? p : "", n); }

bool Ok(const Status& s, char** err) {
  if (s.ok()) return true;
  Fail(err, s.ToString());
  return false;
}

}  // namespace

struct millrace_clocks {
  std::shared_ptr<Clocks> shared;
};

millrace_clocks* millrace_clocks_new(const char* prefixes, const uint32_t* ends,
                                     const uint8_t* lists, size_t n) {
  auto c = std::make_shared<Clocks>(n);
  uint32_t from = 0;
  for (size_t i = 0; i < n; i++) {
    c->kinds[i].prefix.assign(prefixes + from, ends[i] - from);
    c->kinds[i].lists = lists[i] != 0;
    from = ends[i];
  }
  return new millrace_clocks{std::move(c)};
}

void millrace_clocks_set(millrace_clocks* c, size_t kind, int64_t now) {
  auto& clock = c->shared->kinds[kind].now;
  int64_t old = clock.load();
  while (old < now && !clock.compare_exchange_weak(old, now)) {
  }
}

void millrace_clocks_free(millrace_clocks* c) { delete c; }

void millrace_events(millrace_clocks* c, int64_t* flushes, int64_t* compactions, int64_t* stalls,
                     int64_t* written) {
  *written = c->shared->written;
  *flushes = c->shared->flushes;
  *compactions = c->shared->compactions;
  *stalls = c->shared->stalls;
}

namespace {
// A filter alone would be a plain pointer in the options: a factory lives as
// long as they do, and so as long as the database.
class ExpiryFactory : public CompactionFilterFactory {
 public:
  explicit ExpiryFactory(std::shared_ptr<Clocks> c) : clocks_(std::move(c)) {}
  const char* Name() const override { return "millrace.expiry"; }
  std::unique_ptr<CompactionFilter> CreateCompactionFilter(
      const CompactionFilter::Context&) override {
    return std::unique_ptr<CompactionFilter>(new Expiry(clocks_));
  }

 private:
  std::shared_ptr<Clocks> clocks_;
};
}  // namespace

void millrace_options(void* options, millrace_clocks* clocks) {
  auto* o = reinterpret_cast<Options*>(options);
  o->env = SharedEnv();
  o->merge_operator = std::make_shared<Append>();
  o->listeners.push_back(std::make_shared<Events>(clocks->shared));
  if (!clocks->shared->kinds.empty())
    o->compaction_filter_factory = std::make_shared<ExpiryFactory>(clocks->shared);
}

// ---- packed operations

namespace {

enum : uint8_t { kDelete = 0, kPut = 1, kMerge = 2, kDeleteRange = 15 };
constexpr size_t kHeader = 12;

const char* GetField(const char* p, const char* end, Slice* f) {
  uint64_t n = 0;
  for (int shift = 0; shift <= 63 && p < end; shift += 7) {
    const uint64_t b = static_cast<uint8_t>(*p++);
    n |= (b & 127) << shift;
    if (b < 128) {
      if (n > uint64_t(end - p)) return nullptr;
      *f = Slice(p, n);
      return p + n;
    }
  }
  return nullptr;
}

// Takes one operation off [p, end); answers where the next begins.
const char* GetOp(const char* p, const char* end, uint8_t* op, Slice* key, Slice* value) {
  *op = static_cast<uint8_t>(*p++);
  p = GetField(p, end, key);
  if (p != nullptr && *op != kDelete) p = GetField(p, end, value);
  return p;
}

char* PutField(char* p, const Slice& f) {
  uint64_t n = f.size();
  for (; n >= 128; n >>= 7) *p++ = static_cast<char>(n | 128);
  *p++ = static_cast<char>(n);
  memcpy(p, f.data(), f.size());
  return p + f.size();
}

size_t FieldSize(const Slice& f) {
  size_t n = 1;
  for (uint64_t v = f.size(); v >= 128; v >>= 7) n++;
  return n + f.size();
}

uint32_t GroupOf(const Slice& key) {
  return key.size() < 2 ? 0
                        : uint32_t{static_cast<uint8_t>(key[0])} << 8 | static_cast<uint8_t>(key[1]);
}

std::string GroupKey(uint32_t group) {
  return std::string{static_cast<char>(group >> 8), static_cast<char>(group)};
}

}  // namespace

// ---- a database

struct millrace_db {
  DB* db;
  std::vector<ColumnFamilyHandle*> families;
  std::vector<uint32_t> first;   // group with which each span begins
  std::vector<uint32_t> family;  // that has the span
  WriteOptions write;
  ReadOptions read;

  bool Single() const { return families.size() == 1; }
  size_t Span(uint32_t group) const {
    size_t i = first.size() - 1;
    while (first[i] > group) i--;
    return i;
  }
  ColumnFamilyHandle* Of(const Slice& key) const {
    return Single() ? families[0] : families[family[Span(GroupOf(key))]];
  }
  // Calls f(family, lower, upper) for each span's part of a range; an upper
  // bound that is null is none.
  template <class F>
  void Parts(const Slice& lower, const Slice* upper, F f) const {
    for (size_t i = 0; i < first.size(); i++) {
      std::string from = i == 0 ? std::string() : GroupKey(first[i]);
      if (lower.compare(from) > 0) from = lower.ToString();
      std::string to;
      bool bounded = i + 1 < first.size();
      if (bounded) to = GroupKey(first[i + 1]);
      if (upper && (!bounded || upper->compare(to) < 0)) {
        to = upper->ToString();
        bounded = true;
      }
      if (!bounded || from < to) f(families[family[i]], from, bounded ? &to : nullptr);
    }
  }
};

millrace_db* millrace_db_new(void* db, void** families, size_t n, const uint32_t* first,
                             const uint32_t* family, size_t spans) {
  auto* d = new millrace_db;
  // The first and only field of rocksdb_t, and the first of a
  // rocksdb_column_family_handle_t.
  d->db = *static_cast<DB**>(db);
  for (size_t i = 0; i < n; i++)
    d->families.push_back(*static_cast<ColumnFamilyHandle**>(families[i]));
  d->first.assign(first, first + spans);
  d->family.assign(family, family + spans);
  d->write.disableWAL = true;
  return d;
}

void millrace_db_free(millrace_db* d) { delete d; }

// ---- look-ups

namespace {
// So many keys pin blocks of the cache at once.
constexpr size_t kChunk = 128;
}  // namespace

struct millrace_reader {
  Slice keys[kChunk];
  PinnableSlice values[kChunk];
  Status statuses[kChunk];
  ColumnFamilyHandle* families[kChunk];
  size_t held = 0;   // values that are here and not yet copied
  size_t bytes = 0;  // their size
};

millrace_reader* millrace_reader_new(void) { return new millrace_reader; }
void millrace_reader_free(millrace_reader* r) { delete r; }

size_t millrace_multiget(millrace_db* d, millrace_reader* r, const char* keys, const uint32_t* ends,
                         size_t n, size_t from, char* out, size_t cap, size_t* used,
                         uint32_t* out_ends, uint8_t* found, size_t* need, char** err) {
  while (from < n) {
    if (r->held == 0) {
      const size_t m = std::min(kChunk, n - from);
      for (size_t i = 0; i < m; i++) {
        const uint32_t at = from + i == 0 ? 0 : ends[from + i - 1];
        r->keys[i] = Bytes(keys + at, ends[from + i] - at);
        r->values[i].Reset();
      }
      if (d->Single()) {
        d->db->MultiGet(d->read, d->families[0], m, r->keys, r->values, r->statuses);
      } else {
        for (size_t i = 0; i < m; i++) r->families[i] = d->Of(r->keys[i]);
        d->db->MultiGet(d->read, m, r->families, r->keys, r->values, r->statuses);
      }
      r->bytes = 0;
      for (size_t i = 0; i < m; i++) {
        if (r->statuses[i].ok()) {
          r->bytes += r->values[i].size();
        } else if (!r->statuses[i].IsNotFound()) {
          Fail(err, r->statuses[i].ToString());
        }
      }
      if (*err == nullptr && *used + r->bytes > UINT32_MAX)
        Fail(err, "more than 4 GiB of values asked for at once");
      if (*err != nullptr) {
        for (size_t i = 0; i < m; i++) r->values[i].Reset();
        return from;
      }
      r->held = m;
    }
    if (*used + r->bytes > cap) {
      *need = *used + r->bytes;
      return from;
    }
    for (size_t i = 0; i < r->held; i++) {
      found[from + i] = r->statuses[i].ok();
      if (r->statuses[i].ok()) {
        memcpy(out + *used, r->values[i].data(), r->values[i].size());
        *used += r->values[i].size();
        r->values[i].Reset();
      }
      out_ends[from + i] = static_cast<uint32_t>(*used);
    }
    from += r->held;
    r->held = 0;
  }
  return from;
}

// ---- writing

void millrace_write(millrace_db* d, const char* packed, size_t n, char** err) {
  if (d->Single()) {
    WriteBatch b(std::string(packed, n));
    Ok(d->db->Write(d->write, &b), err);
    return;
  }
  WriteBatch b(n + n / 8);
  const char* end = packed + n;
  for (const char* p = packed + kHeader; p < end;) {
    uint8_t op;
    Slice key, value;
    p = GetOp(p, end, &op, &key, &value);
    if (p == nullptr) return Fail(err, "not a packed batch");
    Status s;
    switch (op) {
      case kDelete:
        s = b.Delete(d->Of(key), key);
        break;
      case kPut:
        s = b.Put(d->Of(key), key, value);
        break;
      case kMerge:
        s = b.Merge(d->Of(key), key, value);
        break;
      case kDeleteRange:
        d->Parts(key, &value, [&](ColumnFamilyHandle* f, const std::string& from, std::string* to) {
          if (s.ok()) s = b.DeleteRange(f, from, *to);
        });
        break;
      default:
        return Fail(err, "not a packed batch");
    }
    if (!Ok(s, err)) return;
  }
  Ok(d->db->Write(d->write, &b), err);
}

void millrace_resume(millrace_db* d, char** err) { Ok(d->db->Resume(), err); }

// ---- sorted runs

struct millrace_run {
  millrace_db* d;
  std::string dir;
  size_t file_bytes;
  struct File {
    ColumnFamilyHandle* family;
    std::string path;
  };
  std::vector<File> files;
  std::unique_ptr<SstFileWriter> writer;  // of the last file
  std::string last;                       // the last key
  bool begun = false;

  Status End() {
    if (!writer) return Status::OK();
    Status s = writer->Finish();
    writer.reset();
    return s;
  }

  Status Begin(ColumnFamilyHandle* family) {
    Status s = End();
    if (!s.ok()) return s;
    files.push_back({family, dir + "/" + std::to_string(files.size()) + ".sst"});
    Options o = d->db->GetOptions(family);
    o.compression = o.bottommost_compression != kDisableCompressionOption ? o.bottommost_compression
                                                                         : o.compression;
    // By default it would drop the file from the page cache, and the first
    // look-ups would wait for the disk.
    writer.reset(new SstFileWriter(EnvOptions(), o, family, /*invalidate_page_cache=*/false));
    return writer->Open(files.back().path);
  }

  Status Add(uint8_t op, const Slice& key, const Slice& value, const Slice& before) {
    if (begun && key.compare(before) <= 0)
      return Status::InvalidArgument("key " + key.ToString(true) + " after " +
                                     before.ToString(true) + ": must ascend");
    begun = true;
    ColumnFamilyHandle* family = d->Of(key);
    if (!writer || files.back().family != family || writer->FileSize() >= file_bytes) {
      Status s = Begin(family);
      if (!s.ok()) return s;
    }
    switch (op) {
      case kDelete:
        return writer->Delete(key);
      case kPut:
        return writer->Put(key, value);
      case kMerge:
        return writer->Merge(key, value);
    }
    return Status::InvalidArgument("operation " + std::to_string(op) + " in a sorted run");
  }
};

millrace_run* millrace_run_new(millrace_db* d, const char* dir, size_t file_bytes) {
  auto* r = new millrace_run;
  r->d = d;
  r->dir = dir;
  r->file_bytes = file_bytes;
  return r;
}

void millrace_run_add(millrace_run* r, const char* packed, size_t n, char** err) {
  const char* end = packed + n;
  Slice before(r->last);
  for (const char* p = packed + kHeader; p < end;) {
    uint8_t op;
    Slice key, value;
    p = GetOp(p, end, &op, &key, &value);
    if (p == nullptr) return Fail(err, "not a packed batch");
    if (!Ok(r->Add(op, key, value, before), err)) return;
    before = key;
  }
  if (before.data() != r->last.data()) r->last = before.ToString();
}

void millrace_run_ingest(millrace_run* r, char** err) {
  if (!Ok(r->End(), err) || r->files.empty()) return;
  std::vector<IngestExternalFileArg> args;
  for (const auto& f : r->files) {
    size_t i = 0;
    while (i < args.size() && args[i].column_family != f.family) i++;
    if (i == args.size()) {
      args.emplace_back();
      args[i].column_family = f.family;
      args[i].options.move_files = true;
      args[i].options.verify_file_checksum = false;
    }
    args[i].external_files.push_back(f.path);
  }
  Ok(r->d->db->IngestExternalFiles(args), err);
}

void millrace_run_free(millrace_run* r) { delete r; }

// ---- scans

struct millrace_scan {
  struct Part {
    ColumnFamilyHandle* family;
    std::string lower, upper;
    bool bounded;
  };
  DB* db;
  const Snapshot* snapshot;
  std::vector<Part> parts;
  size_t at = 0;
  Slice upper;
  std::unique_ptr<Iterator> it;

  ~millrace_scan() {
    it.reset();
    db->ReleaseSnapshot(snapshot);
  }
  // Makes it the iterator of the next part that is not at its end; answers
  // whether there is one.
  bool Next(char** err) {
    while (!it || !it->Valid()) {
      if (it && !Ok(it->status(), err)) return false;
      if (it) at++;
      if (at == parts.size()) {
        it.reset();
        return false;
      }
      ReadOptions o;
      o.snapshot = snapshot;
      o.auto_readahead_size = true;
      if (parts[at].bounded) {
        upper = parts[at].upper;
        o.iterate_upper_bound = &upper;
      }
      it.reset(db->NewIterator(o, parts[at].family));
      it->Seek(parts[at].lower);
    }
    return true;
  }
};

millrace_scan* millrace_scan_new(millrace_db* d, const char* lower, size_t lower_n,
                                 const char* upper, size_t upper_n) {
  auto* c = new millrace_scan;
  c->db = d->db;
  c->snapshot = d->db->GetSnapshot();
  Slice to = Bytes(upper, upper_n);
  d->Parts(Bytes(lower, lower_n), upper ? &to : nullptr,
           [&](ColumnFamilyHandle* f, const std::string& from, std::string* until) {
             c->parts.push_back({f, from, until ? *until : std::string(), until != nullptr});
           });
  return c;
}

size_t millrace_scan_next(millrace_scan* c, char* buf, size_t cap, size_t* ops, size_t* need,
                          char** err) {
  size_t used = 0;
  *ops = 0;
  *need = 0;
  while (c->at < c->parts.size() && c->Next(err)) {
    const Slice k = c->it->key(), v = c->it->value();
    const size_t size = 1 + FieldSize(k) + FieldSize(v);
    if (used + size > cap) {
      if (used == 0) *need = size;
      return used;
    }
    char* p = buf + used;
    *p++ = kPut;
    PutField(PutField(p, k), v);
    used += size;
    ++*ops;
    c->it->Next();
  }
  return used;
}

void millrace_scan_free(millrace_scan* c) { delete c; }

// ---- ranges and files

void millrace_clip(millrace_db* d, size_t family, const char* lower, size_t lower_n,
                   const char* upper, size_t upper_n, char** err) {
  Slice from = Bytes(lower, lower_n), to = Bytes(upper, upper_n);
  RangeOpt range(from, to);
  ColumnFamilyHandle* f = d->families[family];
  if (Ok(DeleteFilesInRanges(d->db, f, &range, 1, /*include_end=*/false), err))
    Ok(d->db->DeleteRange(d->write, f, from, to), err);
}

void millrace_compact(millrace_db* d, const char* lower, size_t lower_n, const char* upper,
                      size_t upper_n, char** err) {
  Slice to = Bytes(upper, upper_n);
  CompactRangeOptions o;
  o.bottommost_level_compaction = BottommostLevelCompaction::kForceOptimized;
  d->Parts(Bytes(lower, lower_n), upper ? &to : nullptr,
           [&](ColumnFamilyHandle* f, const std::string& from, std::string* until) {
             Slice a(from), b;
             if (until) b = *until;
             if (*err == nullptr) Ok(d->db->CompactRange(o, f, &a, until ? &b : nullptr), err);
           });
}

size_t millrace_identity(const char* path, char* id, char** err) {
  Options o;
  o.env = SharedEnv();
  SstFileReader r(o);
  std::string s;
  if (!Ok(r.Open(path), err)) return 0;
  auto props = r.GetTableProperties();
  if (!Ok(GetExtendedUniqueIdFromTableProperties(*props, &s), err)) return 0;
  static const char digits[] = "0123456789abcdef";
  size_t n = 0;
  for (unsigned char c : s) {
    id[n++] = digits[c >> 4];
    id[n++] = digits[c & 15];
  }
  return n;
}

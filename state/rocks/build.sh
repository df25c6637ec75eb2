#!/bin/sh
# Builds the RocksDB that package rocks links: one static archive, optimised,
# for the baseline processor of this architecture, with lz4, zstd and snappy
# inside. The result stays in a cache folder outside the source tree and is
# built once: later calls only say where it is.
#
#   state/rocks/build.sh         build if needed, then print the folder
#   state/rocks/build.sh env     print the exports that a Go build needs
#   state/rocks/build.sh check FILE...
#                                report programs that need a newer system than
#                                glibc 2.34, or a library beside it
#
# Environment:
#   XDG_CACHE_HOME        where the cache is (default ~/.cache)
#   MILLRACE_CRATES       a folder that already holds the source archives
#                         (the *.crate files named below): nothing is fetched
#   MILLRACE_BUILD_JOBS   compilers at once (default: one per processor; each
#                         takes up to 1 GB)
#
# The full source of RocksDB is inside the crate librocksdb-sys, so cargo
# fetches it; no Rust is compiled.
set -eu

version=11.8.1
recipe=1 # count up when what is built from the same version changes

rocksdb=librocksdb-sys-0.19.0+11.8.1
rocksdb_sha=4f45e86edad8e88efe97dbf384b4e48e1ff0f111eabf154c7b09d7a1e5fb573c
zstd=zstd-sys-2.1.3+zstd.1.5.7
zstd_sha=f729a06d0257428fd9d997ac8db7e1407bd0262ab016b085b36bc52957c0052d
lz4=lz4-sys-1.11.1+lz4-1.10.0
lz4_sha=6bd8c0d6c6ed0cd30b3652886bb8711dc4bb01d637a68105a3d5158039b418e6

cache=${XDG_CACHE_HOME:-$HOME/.cache}/millrace
out=$cache/rocksdb-$version-$(uname -s | tr A-Z a-z)-$(uname -m)-$recipe

say() { echo "rocksdb: $*" >&2; }
die() { say "$*"; exit 1; }

print_env() {
	echo "export CGO_ENABLED=1"
	echo "export CGO_CFLAGS='-O2 -I$out/include'"
	echo "export CGO_CXXFLAGS='-O2 -I$out/include'"
	echo "export CGO_LDFLAGS='-L$out/lib'"
}

if [ "${1:-}" = check ]; then
	shift
	for f; do
		table=$(objdump -p -T "$f") || die "$f: not a program that can be read"
		newest=$(echo "$table" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
		[ "$(printf '%s\n2.34\n' "$newest" | sort -V | tail -n 1)" = 2.34 ] ||
			die "$f needs glibc $newest: build it on a system that is no newer than Debian 12"
		extra=$(echo "$table" | awk '$1 == "NEEDED" && $2 !~ /^(libc|libm|libgcc_s|libpthread|libdl|libresolv|ld-linux.*)\.so/ {print $2}')
		[ -z "$extra" ] || die "$f needs $extra"
		echo "$f: glibc ${newest:-none}"
	done
	exit 0
fi
if [ "${1:-}" = env ]; then
	[ -e "$out/lib/librocksdb.a" ] || die "not built yet: run 'make rocksdb' first"
	print_env
	exit 0
fi
if [ -e "$out/lib/librocksdb.a" ]; then
	say "$version is in $out"
	exit 0
fi

missing=
for c in cmake g++ gcc make ar nm objcopy tar sha256sum awk; do
	command -v $c >/dev/null || missing="$missing $c"
done
[ -n "${MILLRACE_CRATES:-}" ] || command -v cargo >/dev/null || missing="$missing cargo"
[ -z "$missing" ] || die "building RocksDB needs:$missing
  Debian, Ubuntu:       apt-get install cmake g++ make binutils cargo
  Amazon Linux, Fedora: dnf install cmake gcc-c++ make binutils cargo
(cargo 1.82 or newer only fetches the sources; MILLRACE_CRATES=folder replaces it)"

mkdir -p "$cache"
if command -v flock >/dev/null && [ -z "${MILLRACE_ROCKSDB_LOCKED:-}" ]; then
	# Two builds at once would compile everything twice.
	export MILLRACE_ROCKSDB_LOCKED=1
	exec flock "$out.lock" sh "$0" "$@"
fi

work=$out.building
rm -rf "$work"
mkdir -p "$work/src" "$work/z" "$work/new/lib" "$work/new/include"

# unpack NAME-VERSION SHA256: find or fetch one archive, check it, unpack it.
unpack() {
	file=
	for d in ${MILLRACE_CRATES:-"${CARGO_HOME:-$HOME/.cargo}"/registry/cache/*}; do
		[ ! -e "$d/$1.crate" ] || file=$d/$1.crate
	done
	if [ -z "$file" ] && [ -z "${MILLRACE_CRATES:-}" ]; then
		say "fetching $1"
		name=${1%-sys-*}-sys
		(cd "$work" && cargo info "$name@${1#"$name"-}" >cargo.log 2>&1) ||
			{ cat "$work/cargo.log" >&2; die "fetching $1: cargo info (cargo 1.82 or newer) did not succeed"; }
		for d in "${CARGO_HOME:-$HOME/.cargo}"/registry/cache/*; do
			[ ! -e "$d/$1.crate" ] || file=$d/$1.crate
		done
	fi
	[ -n "$file" ] || die "$1.crate is not there"
	got=$(sha256sum "$file" | cut -d' ' -f1)
	[ "$got" = "$2" ] || die "$file: sha256 is $got, expected $2: remove it and try again"
	tar -xzf "$file" -C "$work/src"
}
unpack "$rocksdb" $rocksdb_sha
unpack "$zstd" $zstd_sha
unpack "$lz4" $lz4_sha

jobs=${MILLRACE_BUILD_JOBS:-$(getconf _NPROCESSORS_ONLN)}
src=$work/src
zinc="-I$src/$zstd/zstd/lib -I$src/$lz4/liblz4/lib -I$src/$rocksdb/snappy -I$src/$rocksdb"

say "compiling lz4, zstd and snappy"
(
	cd "$work/z"
	gcc -O3 -fPIC -DNDEBUG -c "$src/$lz4"/liblz4/lib/*.c
	gcc -O3 -fPIC -DNDEBUG -DZSTD_MULTITHREAD -DZSTD_LEGACY_SUPPORT=0 -c \
		"$src/$zstd"/zstd/lib/common/*.c "$src/$zstd"/zstd/lib/compress/*.c \
		"$src/$zstd"/zstd/lib/decompress/*.c "$src/$zstd"/zstd/lib/dictBuilder/*.c
	case $(uname -m) in x86_64)
		gcc -c "$src/$zstd"/zstd/lib/decompress/huf_decompress_amd64.S ;;
	esac
	g++ -O3 -fPIC -DNDEBUG -std=c++17 $zinc -c "$src/$rocksdb/snappy/snappy.cc" \
		"$src/$rocksdb/snappy/snappy-sinksource.cc" "$src/$rocksdb/snappy/snappy-stubs-internal.cc"
) || die "compiling lz4, zstd and snappy stopped: see above"

say "compiling RocksDB $version with $jobs compilers (13 CPU minutes)"
cmake -S "$src/$rocksdb/rocksdb" -B "$work/cmake" \
	-DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" \
	-DCMAKE_CXX_FLAGS="-DSNAPPY -DLZ4 -DZSTD $zinc" -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
	-DPORTABLE=1 -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=8 \
	-DROCKSDB_BUILD_SHARED=OFF -DWITH_TESTS=OFF -DWITH_TOOLS=OFF -DWITH_CORE_TOOLS=OFF \
	-DWITH_BENCHMARK_TOOLS=OFF -DWITH_TRACE_TOOLS=OFF -DWITH_GFLAGS=OFF -DWITH_LIBURING=OFF \
	-DFAIL_ON_WARNINGS=OFF >"$work/cmake.log" 2>&1 ||
	{ tail -n 20 "$work/cmake.log" >&2; die "configuring RocksDB stopped: see $work/cmake.log"; }
cmake --build "$work/cmake" --target rocksdb -j "$jobs" >&2 ||
	die "compiling RocksDB stopped: see above"

# The compression libraries get names of their own, so that a program may also
# link another copy of them (a Go module that brings its C sources, say).
say "packing"
(
	cd "$work/z"
	nm -g --defined-only ./*.o | awk 'NF == 3 && $2 ~ /[TDBRVWu]/ && $3 ~ /^(ZSTD|ZDICT|HUF|FSE|HIST|COVER|FASTCOVER|POOL|LZ4|XXH|ERR|divsuf|divbwt|g_ZSTD|_ZSTD|_ZN6snappy|_ZNK6snappy|_ZTVN6snappy)/ {print $3, "millrace_" $3}' |
		sort -u >names
	for o in ./*.o; do objcopy --redefine-syms=names "$o"; done
	cp "$work/cmake/librocksdb.a" rocks.a
	objcopy --redefine-syms=names rocks.a
	ar -q rocks.a ./*.o && ar -s rocks.a
	mv rocks.a "$work/new/lib/librocksdb.a"
) || die "packing the archive stopped: see above"

# The C++ runtime is linked statically: the copy beside librocksdb.a is found
# before the system's shared one. The other libraries that grocksdb asks for
# are already inside librocksdb.a, so empty archives stand in for them.
#
# On a system with glibc 2.36 that runtime asks it for arc4random, which older
# systems lack: it gets one of its own.
cp "$(g++ -print-file-name=libstdc++.a)" "$work/new/lib/libstdc++.a"
(
	cd "$work/z"
	cat >random.c <<-'END'
		#include <sys/random.h>
		#include <stdlib.h>
		unsigned millrace_arc4random(void) {
			unsigned u;
			if (getentropy(&u, sizeof u) != 0) abort();
			return u;
		}
	END
	gcc -O2 -fPIC -c random.c
	objcopy --redefine-sym arc4random=millrace_arc4random "$work/new/lib/libstdc++.a"
	ar -q "$work/new/lib/libstdc++.a" random.o && ar -s "$work/new/lib/libstdc++.a"
) || die "packing the C++ runtime stopped: see above"
for l in z bz2 snappy lz4 zstd; do ar -qc "$work/new/lib/lib$l.a"; done
cp -R "$src/$rocksdb/rocksdb/include/rocksdb" "$work/new/include/"

rm -rf "$out"
mv "$work/new" "$out"
rm -rf "$work"
say "$version is in $out"

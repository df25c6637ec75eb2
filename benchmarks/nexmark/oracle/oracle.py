#!/usr/bin/env python3
"""Answers the Nexmark queries over a file of events, with SQL in DuckDB.

    python3 oracle.py [--query q5]... EVENTS OUTPUT_FOLDER

EVENTS holds one event of JSON a line, possibly compressed with gzip. For each
query the rows of its sink are written to OUTPUT_FOLDER/qN.jsonl.gz (qN.jsonl
with --plain), sorted, one object of JSON a line. README.md says what the
queries mean and how values print.

Only the final result is computed. Events may come out of order as long as
none is late, that is, none comes 4 s or more of event time after a younger
one of any kind; otherwise the script refuses.

Needs Python 3.9 or newer and the package duckdb 1.1 or newer.
"""

import argparse
import gzip
import json
import os
import sys

import duckdb

# The delay after which the reference's watermark makes an event late.
LATE_MS = 4000

# Times are loaded as text and cut to milliseconds. seq is the line number:
# where the reference's result depends on the order of arrival, so does ours.
LOAD = """
CREATE TABLE raw AS
SELECT event_type, person, auction, bid
FROM read_json($path, format='newline_delimited', columns={
  event_type: 'INTEGER',
  person: 'STRUCT(id BIGINT, "name" VARCHAR, emailAddress VARCHAR, creditCard VARCHAR,
           city VARCHAR, state VARCHAR, "dateTime" VARCHAR, extra VARCHAR)',
  auction: 'STRUCT(id BIGINT, itemName VARCHAR, description VARCHAR, initialBid BIGINT,
            reserve BIGINT, "dateTime" VARCHAR, expires VARCHAR, seller BIGINT,
            category BIGINT, extra VARCHAR)',
  bid: 'STRUCT(auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
        "dateTime" VARCHAR, extra VARCHAR)'
});

-- Decimals after the third are cut: 23 characters hold the first three.
CREATE MACRO ts(s) AS CAST(substr(rtrim(replace(s, 'T', ' '), 'Z.'), 1, 23) AS TIMESTAMP);
CREATE MACRO txt(s) AS coalesce(s, '');

CREATE TABLE person AS SELECT rowid AS seq, person.id, txt(person.name) AS "name",
  txt(person.emailAddress) AS emailAddress, txt(person.creditCard) AS creditCard,
  txt(person.city) AS city, txt(person.state) AS state, ts(person.dateTime) AS "dateTime",
  txt(person.extra) AS extra
FROM raw WHERE event_type = 0;

CREATE TABLE auction AS SELECT rowid AS seq, auction.id, txt(auction.itemName) AS itemName,
  txt(auction.description) AS description, auction.initialBid, auction.reserve,
  ts(auction.dateTime) AS "dateTime", ts(auction.expires) AS expires, auction.seller,
  auction.category, txt(auction.extra) AS extra
FROM raw WHERE event_type = 1;

CREATE TABLE bid AS SELECT rowid AS seq, bid.auction, bid.bidder, bid.price,
  txt(bid.channel) AS channel, txt(bid.url) AS url, ts(bid.dateTime) AS "dateTime",
  txt(bid.extra) AS extra
FROM raw WHERE event_type = 2;

-- The number of the side input of q13 and its text, as the reference makes it.
CREATE TABLE side_input AS SELECT range AS key, CAST(range AS VARCHAR) AS "value" FROM range(10000);

-- Window starts: aligned to the epoch, as Flink's.
CREATE MACRO tumble(t, seconds) AS
  make_timestamp((epoch_ms(t) - epoch_ms(t) % (seconds * 1000)) * 1000);
"""

LATENESS = """
SELECT coalesce(max(newest - t), 0) FROM (
  SELECT t, max(t) OVER (ORDER BY seq) AS newest FROM (
    SELECT seq, epoch_ms("dateTime") AS t FROM person
    UNION ALL SELECT seq, epoch_ms("dateTime") FROM auction
    UNION ALL SELECT seq, epoch_ms("dateTime") FROM bid))
"""

# A bid belongs to five windows of 10 s that start 2 s apart.
HOP = """
  SELECT *, tumble("dateTime", 2) - to_seconds(2 * k) AS window_start
  FROM bid, range(5) AS r(k)
"""

RANKS = """
  count(*) AS total_bids,
  count(*) FILTER (price < 10000) AS rank1_bids,
  count(*) FILTER (price >= 10000 AND price < 1000000) AS rank2_bids,
  count(*) FILTER (price >= 1000000) AS rank3_bids
"""

DISTINCT = """
  count(DISTINCT bidder) AS total_bidders,
  count(DISTINCT bidder) FILTER (price < 10000) AS rank1_bidders,
  count(DISTINCT bidder) FILTER (price >= 10000 AND price < 1000000) AS rank2_bidders,
  count(DISTINCT bidder) FILTER (price >= 1000000) AS rank3_bidders,
  count(DISTINCT auction) AS total_auctions,
  count(DISTINCT auction) FILTER (price < 10000) AS rank1_auctions,
  count(DISTINCT auction) FILTER (price >= 10000 AND price < 1000000) AS rank2_auctions,
  count(DISTINCT auction) FILTER (price >= 1000000) AS rank3_auctions
"""

EURO = "CAST(CAST(0.908 AS DECIMAL(4, 3)) * CAST(price AS DECIMAL(19, 0)) AS DECIMAL(23, 3))"

DAY = "strftime(\"dateTime\", '%Y-%m-%d')"
MINUTE = "strftime(\"dateTime\", '%H:%M')"

# Bids of an auction while it was open.
VALID = 'A.id = B.auction AND B."dateTime" BETWEEN A."dateTime" AND A.expires'

CHANNEL_ID = "(&|^)channel_id=([^&]*)"

QUERIES = {
    "q0": 'SELECT auction, bidder, price, "dateTime", extra FROM bid',
    "q1": f'SELECT auction, bidder, {EURO} AS price, "dateTime", extra FROM bid',
    "q2": "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    "q3": """
        SELECT P.name, P.city, P.state, A.id
        FROM auction A JOIN person P ON A.seller = P.id
        WHERE A.category = 10 AND P.state IN ('OR', 'ID', 'CA')""",
    # AVG of a BIGINT is a BIGINT in Flink: it drops the fraction.
    "q4": f"""
        SELECT category AS id, CAST(sum(final) // count(*) AS BIGINT) AS final
        FROM (SELECT max(B.price) AS final, A.category
              FROM auction A JOIN bid B ON {VALID}
              GROUP BY A.id, A.category)
        GROUP BY category""",
    "q5": f"""
        SELECT auction, num FROM (
          SELECT auction, num, max(num) OVER (PARTITION BY window_start) AS most
          FROM (SELECT auction, window_start, count(*) AS num
                FROM ({HOP}) GROUP BY auction, window_start))
        WHERE num >= most""",
    # The reference inserts price and bidder by position, the wrong way round.
    "q7": """
        SELECT B.auction, B.price AS bidder, B.bidder AS price, B."dateTime", B.extra
        FROM bid B JOIN (
          SELECT max(price) AS maxprice, tumble("dateTime", 10) + INTERVAL 10 SECOND AS window_end
          FROM bid GROUP BY ALL) W
        ON B.price = W.maxprice
        WHERE B."dateTime" BETWEEN W.window_end - INTERVAL 10 SECOND AND W.window_end""",
    "q8": """
        SELECT DISTINCT P.id, P.name, P.stime FROM
          (SELECT id, "name", tumble("dateTime", 10) AS stime FROM person) P
          JOIN (SELECT seller, tumble("dateTime", 10) AS stime FROM auction) A
          ON P.id = A.seller AND P.stime = A.stime""",
    "q9": f"""
        SELECT A.id, A.itemName, A.description, A.initialBid, A.reserve, A."dateTime", A.expires,
               A.seller, A.category, A.extra, B.auction, B.bidder, B.price,
               B."dateTime" AS "bid_dateTime", B.extra AS bid_extra
        FROM auction A JOIN bid B ON {VALID}
        QUALIFY row_number() OVER (PARTITION BY A.id
                ORDER BY B.price DESC, B."dateTime", greatest(A.seq, B.seq), B.seq) = 1""",
    "q10": f"""
        SELECT auction, bidder, price, "dateTime", extra, {DAY} AS dt, {MINUTE} AS hm FROM bid""",
    # Windows that touch are merged, so a gap of exactly 10 s does not part.
    "q11": """
        SELECT bidder, count(*) AS bid_count, min("dateTime") AS starttime,
               max("dateTime") + INTERVAL 10 SECOND AS endtime
        FROM (SELECT *, sum(CAST(fresh AS INTEGER)) OVER (PARTITION BY bidder ORDER BY "dateTime", seq) AS session
              FROM (SELECT *, coalesce("dateTime" - lag("dateTime") OVER
                              (PARTITION BY bidder ORDER BY "dateTime", seq) > INTERVAL 10 SECOND, true) AS fresh
                    FROM bid))
        GROUP BY bidder, session""",
    "q13": """
        SELECT B.auction, B.bidder, B.price, B."dateTime", S."value"
        FROM bid B JOIN side_input S ON B.auction % 10000 = S.key""",
    "q14": f"""
        SELECT auction, bidder, {EURO} AS price,
          CASE WHEN hour("dateTime") BETWEEN 8 AND 18 THEN 'dayTime'
               WHEN hour("dateTime") <= 6 OR hour("dateTime") >= 20 THEN 'nightTime'
               ELSE 'otherTime' END AS "bidTimeType",
          "dateTime", extra,
          CAST(length(extra) - length(replace(extra, 'c', '')) AS BIGINT) AS c_counts
        FROM bid WHERE {EURO} > 1000000 AND {EURO} < 50000000""",
    "q15": f"SELECT {DAY} AS day, {RANKS}, {DISTINCT} FROM bid GROUP BY ALL",
    "q16": f"""
        SELECT channel, {DAY} AS day, max({MINUTE}) AS minute, {RANKS}, {DISTINCT}
        FROM bid GROUP BY channel, {DAY}""",
    "q17": f"""
        SELECT auction, {DAY} AS day, {RANKS}, min(price) AS min_price, max(price) AS max_price,
          CAST(sum(price) // count(*) AS BIGINT) AS avg_price, CAST(sum(price) AS BIGINT) AS sum_price
        FROM bid GROUP BY auction, {DAY}""",
    # Of the last bids of one time the one that arrived last stays.
    "q18": """
        SELECT auction, bidder, price, channel, url, "dateTime", extra FROM bid
        QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY "dateTime" DESC, seq DESC) = 1""",
    # Of bids of one price the one that arrived first ranks first.
    "q19": """
        SELECT auction, bidder, price, channel, url, "dateTime", extra,
               row_number() OVER (PARTITION BY auction ORDER BY price DESC, seq) AS rank_number
        FROM bid QUALIFY rank_number <= 10""",
    "q20": """
        SELECT B.auction, B.bidder, B.price, B.channel, B.url, B."dateTime" AS "bid_dateTime",
               B.extra AS bid_extra, A.itemName, A.description, A.initialBid, A.reserve,
               A."dateTime" AS "auction_dateTime", A.expires, A.seller, A.category,
               A.extra AS auction_extra
        FROM bid B JOIN auction A ON B.auction = A.id WHERE A.category = 10""",
    "q21": f"""
        SELECT auction, bidder, price, channel,
          CASE lower(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1'
               WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3'
               ELSE regexp_extract(url, '{CHANNEL_ID}', 2) END AS channel_id
        FROM bid
        WHERE regexp_matches(url, '{CHANNEL_ID}')
           OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')""",
    "q22": """
        SELECT auction, bidder, price, channel, string_split(url, '/')[4] AS dir1,
               string_split(url, '/')[5] AS dir2, string_split(url, '/')[6] AS dir3
        FROM bid""",
    "q23": """
        SELECT B.bidder, B.price, B.channel, B.url, B.extra AS bid_extra, P.id AS person_id,
               P.name, P.emailAddress, P.creditCard, P.city, P.state, P.extra AS person_extra,
               A.itemName, A.description, A.initialBid, A.reserve,
               A."dateTime" AS "auction_dateTime", A.expires, A.seller, A.category,
               A.extra AS auction_extra
        FROM bid B JOIN person P ON P.id = B.bidder JOIN auction A ON A.seller = B.bidder""",
}


def time_text(t):
    """Prints a time as events do: as many decimals as are needed."""
    text = t.strftime("%Y-%m-%dT%H:%M:%S.%f")
    if t.year < 1000:
        text = text.rjust(26, "0")
    return text.rstrip("0").rstrip(".")


def value_text(value):
    """Prints one value as JSON."""
    kind = type(value).__name__
    if kind == "datetime":
        return json.dumps(time_text(value))
    if kind == "Decimal":
        return format(value, "f")  # a number with all its decimals
    return json.dumps(value, ensure_ascii=False)


def run(connection, name, path, plain):
    """Writes the rows of one query and returns how many there are."""
    cursor = connection.execute(f"SELECT * FROM ({QUERIES[name]}) ORDER BY ALL")
    columns = [json.dumps(c[0]) for c in cursor.description]
    count = 0
    if plain:
        out = open(path, "wb")
    else:  # no name and time in the header: same rows, same file
        raw = open(path + ".gz", "wb")
        out = gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=raw, mtime=0)
    with out:
        while rows := cursor.fetchmany(10000):
            for row in rows:
                fields = (c + ":" + value_text(v) for c, v in zip(columns, row))
                out.write(("{" + ",".join(fields) + "}\n").encode())
            count += len(rows)
    if not plain:
        raw.close()
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("events")
    parser.add_argument("output")
    parser.add_argument("--query", action="append", choices=list(QUERIES), help="only this one; may be repeated")
    parser.add_argument("--plain", action="store_true", help="do not compress")
    args = parser.parse_args()

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
    load = LOAD.split(";\n", 1)
    connection.execute(load[0], {"path": args.events})
    connection.execute(load[1])
    delay = connection.execute(LATENESS).fetchone()[0]
    if delay >= LATE_MS:
        sys.exit(f"{args.events}: an event comes {delay} ms after a younger one; from {LATE_MS} ms on events would be late")
    os.makedirs(args.output, exist_ok=True)
    for name in args.query or QUERIES:
        count = run(connection, name, os.path.join(args.output, name + ".jsonl"), args.plain)
        print(f"{name}: {count} rows")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes testdata/edges.json: few events, made by hand, at the edges of the
queries, which random events seldom meet. Run: python3 edges.py > FILE"""

import json

URL = "https://www.nexmark.com/a/b_c/d/item.htm?query=1"


def event(kind, **fields):
    print(json.dumps({"event_type": kind, "person": fields if kind == 0 else None,
                      "auction": fields if kind == 1 else None, "bid": fields if kind == 2 else None},
                     ensure_ascii=False))


def person(id, time, name="Ann Øst", state="OR"):
    event(0, id=id, name=name, emailAddress="ann@example.com", creditCard="1111 2222 3333 4444",
          city="Bend", state=state, dateTime=time, extra="")


def auction(id, time, expires, seller=1000, category=10):
    event(1, id=id, itemName="item \"%d\"" % id, description="tab\tand \\", initialBid=1, reserve=2,
          dateTime=time, expires=expires, seller=seller, category=category, extra="x")


def bid(auction, bidder, price, time, channel="Apple", url=URL, extra="cc"):
    event(2, auction=auction, bidder=bidder, price=price, channel=channel, url=url, dateTime=time, extra=extra)


DAY = "2026-03-01T"
person(1000, DAY + "00:00:00")
person(1001, DAY + "00:00:09.999", state="ID")
person(1002, DAY + "00:00:10", state="WA")
auction(1000, DAY + "00:00:10", DAY + "00:00:20")  # seller 1000 joined in the window before: not in q8
auction(1001, DAY + "00:00:09.999", DAY + "00:00:30", seller=1001)  # in q8; and out of order
auction(1002, DAY + "00:00:10", DAY + "00:00:10.001", seller=1002, category=11)
auction(1003, DAY + "00:00:10", DAY + "00:00:40", seller=1002)  # q8 has seller 1002 once

# q4, q9: the time of a valid bid is from dateTime to expires, both included.
bid(1000, 2000, 900, DAY + "00:00:09.999")  # too early
bid(1000, 2000, 100, DAY + "00:00:10")
bid(1002, 2000, 7, DAY + "00:00:10.001")
bid(1002, 2000, 8, DAY + "00:00:10.002")  # too late
# Same price: the earlier one wins, though it arrives later; same time too: the first to arrive.
bid(1003, 2001, 500, DAY + "00:00:12")
bid(1003, 2002, 500, DAY + "00:00:11", extra="first")
bid(1003, 2003, 500, DAY + "00:00:11", extra="second")
# q7: a bid at the end of a window belongs to the next, but matches the maximum of both.
bid(1000, 2004, 500, DAY + "00:00:20", extra="end")
bid(1000, 2004, 501, DAY + "00:00:20.001")  # after 1000 has expired
bid(1001, 2004, 501, DAY + "00:00:29.999")
bid(1001, 2004, 501, DAY + "00:00:30", extra="end")
# q18: same bidder, auction and time: the last to arrive; an older one that arrives later does not count.
bid(1001, 2005, 10, DAY + "00:00:33", extra="a")
bid(1001, 2005, 11, DAY + "00:00:33", extra="b")
bid(1001, 2005, 12, DAY + "00:00:30.5", extra="c")
# q11: a gap of exactly 10 s keeps a session together, one of 10.001 s parts it.
bid(1100, 2006, 20, DAY + "00:01:00")
bid(1100, 2006, 20, DAY + "00:01:10")
bid(1100, 2006, 20, DAY + "00:01:20.001")
# q19: twelve bids, two prices: ten are left, ranked by arrival within a price.
for i in range(12):
    bid(1101, 2010 + i, 30 + i % 2, DAY + "00:02:%02d" % (12 - i % 3))
# q4, q20, q23: the auction arrives after its bid; the bidder is a person who sells.
bid(1104, 1000, 42, DAY + "00:03:01")
auction(1104, DAY + "00:03:00", DAY + "00:03:05")
# q2 (123 * 9), q13 (key wraps at 10000), q15 to q17 (bounds of the ranks).
for id, price in [(1107, 9999), (11107, 10000), (1107, 999999), (1107, 1000000), (11107, 0)]:
    bid(id, 2030, price, DAY + "00:04:00")
# q14: 0.908 * price > 1000000 and < 50000000, and the times of the day.
for price in [1101321, 1101322, 55066079, 55066080]:
    bid(1110, 2031, price, DAY + "05:00:00", extra="")
for hour in [6, 7, 8, 18, 19, 20]:
    bid(1110, 2031, 2000000, DAY + "%02d:59:59.999" % hour, extra="Cçcc")
# q21, q22: what channels and URLs there may be.
NIGHT = "2026-03-01T23:59:59.9"
bid(1120, 2040, 1, NIGHT, "BAIDU")
bid(1120, 2040, 2, NIGHT, "channel-1")  # no id: not in q21
bid(1120, 2040, 3, NIGHT, "channel-2", URL + "&channel_id=77&more=1")
bid(1120, 2040, 4, NIGHT, "channel-3", URL + "&channel_id=")  # empty, not null
bid(1120, 2040, 5, NIGHT, "channel-4", "channel_id=5/x")  # at the start; few directories
bid(1120, 2040, 6, NIGHT, "channel-5", URL + "&xchannel_id=9")  # another parameter
bid(1120, 2040, 7, NIGHT, "facebook", "")
bid(1120, 2040, 8, NIGHT, "Google", "https://www.nexmark.com//b//")  # empty directories
bid(1120, 2040, 9, "2026-03-02T00:00:00.001", "Google")  # the next day

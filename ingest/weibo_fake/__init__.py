"""A Weibo to practise on: a world of posts that lives by a clock, and a server that plays it on loopback."""

"""What ``weibowatch experiment`` reads, runs, keeps and writes."""

"""``weibowatch backtest``: kept facts, replayed under these or other rules, aliases or models."""

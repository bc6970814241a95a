"""Sources of posts: replayed files, the demo corpus, Weibo."""

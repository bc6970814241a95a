"""The commands of ``weibowatch``, a file per group."""

"""The annotation loop on stores, files and models: what ``weibowatch annotate`` does."""

"""Where a model lies: the zoo, the hub, a download, a folder; and its identity."""

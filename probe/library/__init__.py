"""A library as it is read: files, records, and the plan of its shards."""

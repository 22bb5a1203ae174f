"""Keep closed bars in a database, and read them again."""

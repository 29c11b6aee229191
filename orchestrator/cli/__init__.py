"""The `counterpoint` command line: a client of the read model and of the inbox, for people and for scripts."""

"""The revisions, one file each. A step only adds: a program of the step before still works."""

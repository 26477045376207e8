"""The command line of Parallax: one file per sub-command, imported by nothing."""

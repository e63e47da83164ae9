"""The command line. Every command parses, calls and prints; nothing is computed here."""

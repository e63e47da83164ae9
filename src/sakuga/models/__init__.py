"""Models: files, folders and names become the loaded parts of one family. Sees no adapter and no job."""

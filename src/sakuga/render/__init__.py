"""The toon pipeline: puts the engines together. Knows no file format, no codec of video and no command line."""

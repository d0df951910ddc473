"""The only home of files: captures kept under the content they were made from. Imports numpy, pyarrow and `routing`."""

"""The command line. Importing it imports neither a framework nor numpy."""

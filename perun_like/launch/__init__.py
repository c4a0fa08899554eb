"""Starting the application as a child, and knowing which rank of which job we are."""

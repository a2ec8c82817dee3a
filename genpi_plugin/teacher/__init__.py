"""What the prompted model holds likely at each behaviour token: computed once, kept on disk."""

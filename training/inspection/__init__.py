"""What a set of demonstrations holds, and which of them somebody should look at."""

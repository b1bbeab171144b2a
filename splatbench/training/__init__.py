"""One trainer for every method that learns: a method offers a `Task`, a file says how it is trained."""

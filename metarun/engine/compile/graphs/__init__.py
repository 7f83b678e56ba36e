"""What metarun changes in graphs before Inductor compiles them: operations into others that compute the same faster."""

"""What every room uses: errors, files, command lines, validation and progress."""

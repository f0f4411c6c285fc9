"""Drawing for many at once: the engine that joins requests, the API that programs call, and the page for people."""

"""Pictures that follow parameters while these change: for browsers, VJ tools, streaming programs and cameras."""

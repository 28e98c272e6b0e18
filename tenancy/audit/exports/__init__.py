"""The trail as files: written in the background, proved by a manifest, downloaded or put into customers' stores."""

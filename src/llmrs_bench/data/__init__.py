"""Raw sources to frames: loading, filtering, splitting, sampling candidates. Frame in, frame out."""

"""Where sessions come from: games, Gymnasium environments and video files."""

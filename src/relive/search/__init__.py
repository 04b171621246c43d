"""Finding moments by state, place and picture, on stored codes, without decoding pixels."""

from relive.search.find import Found, Query, find, opened
from relive.search.picture import Like, passed_over, read_picture
from relive.search.place import Place
from relive.search.thumbnails import check_folder, write_thumbnails

__all__ = [
    "Found",
    "Like",
    "Place",
    "Query",
    "check_folder",
    "find",
    "opened",
    "passed_over",
    "read_picture",
    "write_thumbnails",
]

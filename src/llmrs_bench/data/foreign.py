"""Files that are no tables: what they are, by how they begin, and how one makes a table of them."""

import re

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.delimited import READ
from llmrs_bench.data.files import GZIP

EXPORT = "Open it with the program that made it, and export the table, in pandas with to_csv(..., index=False)."
WORKBOOK = "a workbook of a spreadsheet", "In its program, export the table as CSV in UTF-8, one file for each sheet."
PICKLE = "a pickle of Python, which is never run", EXPORT
KINDS = {
    b"SQLite format 3\0": (
        "a database of SQLite",
        "`sqlite3 FILE .tables` names its tables; export the table of events: "
        "`sqlite3 -header -csv FILE 'SELECT * FROM TABLE' > events.csv`.",
    ),
    b"\xd0\xcf\x11\xe0": ("a workbook of Excel", WORKBOOK[1]),
    b"%PDF": ("a PDF", EXPORT),
    b"ARROW1": ("a file of Arrow (Feather)", "In pandas, export the table with read_feather(FILE).to_parquet(...)."),
    b"\xff\xff\xff\xff": (
        "a stream of Arrow, as Hugging Face saves data sets",
        "In Python, export the table with datasets.load_from_disk(FOLDER).to_parquet(...).",
    ),
    b"ORC": ("a file of ORC", "In pandas, export the table with read_orc(FILE).to_parquet(...)."),
    b"Obj\x01": ("a file of Avro", EXPORT),
    b"\x89HDF": ("a file of HDF5", EXPORT),
    b"MATLAB 5.0": ("a file of MATLAB", "In Python, scipy.io.loadmat(FILE) reads it: export the table as CSV."),
    b"\x93NUMPY": ("an array of NumPy", EXPORT),
    b"\x80\x03": PICKLE,
    b"\x80\x04": PICKLE,
    b"\x80\x05": PICKLE,
    b"version https://git-lfs": (
        "a pointer of Git LFS",
        "Get the file itself, with `git lfs pull` in its repository, or from the owner's page.",
    ),
}
WORDS = (b"ORC",)  # with which a header may begin, as ORCID does; the file of another program holds bytes of 0
PACKED = {
    GZIP: "packed twice",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ\0": "packed with xz",
    b"\x04\x22\x4d\x18": "packed with lz4",
    b"7z\xbc\xaf\x27\x1c": "an archive of 7-Zip",
    b"Rar!\x1a\x07": "an archive of RAR",
    b"PK\x03\x04": "an archive inside of an archive",
}
UNPACK = "Unpack it. Supported: files compressed once with gzip or zstd, and archives of zip and tar (.tar, .tar.gz)."
BEGINNING = 1 << 14  # bytes
IN_WORKBOOKS = (b"[Content_Types].xml", b"mimetypeapplication/vnd.oasis")
SQL = re.compile(
    rb"(?i)(?:drop|create|alter|lock) tables?\b|insert into\b|set \S+ *=|pragma \w|begin(?: transaction)?;|use `|"
    rb"start transaction|copy \S+ ?\("
)
COMMENTS = (b"--", b"/*", b"#")  # of SQL
NETFLIX = re.compile(rb"(?:\xef\xbb\xbf)?\d+:\s*\r?\n\d+,\d,")


class ForeignError(DataError):
    """A file is of another kind than those that are read."""


def require_table(data: bytes, name: str) -> None:
    """Refuse what begins like a file of another kind.

    Raises:
        ForeignError: Saying what it is, and how one makes a table of it.
    """
    beginning = data[:BEGINNING]
    for start, (what, hint) in KINDS.items():
        if beginning.startswith(start) and (start not in WORDS or b"\0" in beginning):
            raise ForeignError(f"{name} is {what}, not a table", hint=f"{hint} {READ}")
    for start, what in PACKED.items():
        if beginning.startswith(start):
            if any(mark in beginning for mark in IN_WORKBOOKS):
                raise ForeignError(f"{name} is {WORKBOOK[0]}, not a table", hint=f"{WORKBOOK[1]} {READ}")
            raise ForeignError(f"{name} is {what}", hint=UNPACK)
    lines = (line.strip() for line in beginning.splitlines())
    if SQL.match(next((line for line in lines if line and not line.startswith(COMMENTS)), b"")):
        raise ForeignError(
            f"{name} is a dump of SQL, not a table",
            hint=f"Load it into a database of its kind, and export the table of events as CSV with a header. {READ}",
        )
    if NETFLIX.match(beginning):
        raise ForeignError(
            f"{name} has the layout of the Netflix Prize: a line such as '1:' says of which item the rows below it are",
            hint="Write the item into each row: "
            """`awk '/:/{sub(/:.*/,"");item=$0;next}{print item","$0}' combined_data_*.txt > ratings.csv`; """
            "then --source ratings.csv --columns item=0,user=1,rating=2,time=3.",
        )

"""Folders in the layouts of known data sets, with invented rows."""

import gzip
from collections.abc import Mapping
from pathlib import Path

from llmrs_bench.core.registry import SOURCES
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import Raw

Files = Mapping[str, str | bytes]


def write_files(folder: Path, files: Files) -> Path:
    """Write files, text as UTF-8; those called `.gz` are packed. Return the folder."""
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def load(layout: str, folder: Path, files: Files) -> Raw:
    """Write files, and read them as a layout."""
    source, opened = SOURCES.load(layout)(), SourceFiles.open(write_files(folder, files))
    assert source.accepts(opened)
    assert set(source.uses(opened)) <= set(opened.names)
    raw: Raw = source.load(opened)
    return raw


AMAZON_2023: Files = {
    "Kites.csv.gz": "user_id,parent_asin,rating,timestamp\n"
    "AHUSERONE,B000000001,5.0,1546297654677\n"
    "AHUSERTWO,0000000042,1.0,1546297654678\n"
    "AHUSERTWO,B000000001,3.0,1546297654500\n",
    "meta_Kites.jsonl.gz": '{"parent_asin": "B000000009", "title": "Nobody\'s kite", "store": "X"}\n'
    '{"parent_asin": "B000000001", "title": "R&amp;B Kite", "store": "Fl\u00fcgel", "price": 27.99, '
    '"categories": ["Toys", "Kites"]}\n'
    '{"parent_asin": "B000000001", "title": "The same again", "store": null, "price": null, "categories": []}\n'
    '{"parent_asin": "0000000042", "title": "nan", "store": null, "price": "\u2014", "categories": []}\n',
}
AMAZON_2018: Files = {
    "Kites.csv": "B000000001,A1USERNUMBER1,5.0,1546297654\n0000000042,A1USERNUMBER2,1.0,1546297653\n",
    "meta_Kites.json.gz": '{"asin": "B000000001", "title": "A kite", "brand": "Acme", "price": "$12.99", '
    '"category": ["Toys", "Kites &amp; More"]}\n'
    '{"asin": "0000000042", "title": "var start = (new Date()).getTime();", "price": ".a-box-inner{color:#fff}"}\n',
}
AMAZON_2014: Files = {
    "ratings_Kites.csv": "A1USERNUMBER1,B000000001,5.0,1366675200\nA1USERNUMBER2,0000000042,1.0,1366675200\n",
    "meta_Kites.json.gz": "{'asin': 'B000000001', 'title': \"The Pilot's kite\", 'brand': 'Acme', 'price': 12.99, "
    "'categories': [['Toys', 'Kites'], ['Toys', 'Outdoors']]}\n{'asin': '0000000042', 'imUrl': 'x'}\n",
}
MOVIELENS_10M: Files = {
    "ml-10M100K/ratings.dat": "1::122::4.5::838985046\n1::9::0.5::838983525\n2::9::3::868245777\n",
    "ml-10M100K/movies.dat": "122::Mis\u00e9rables, Les (1995)::Drama|IMAX\n"
    "9::Pull My Daisy (1958)::(no genres listed)\n",
    "ml-10M100K/tags.dat": "15::4973::excellent!::1215184630\n",
}
MOVIELENS_CSV: Files = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,307,3.5,1256677221\n2,9,4.0,1256677222\n",
    "movies.csv": 'movieId,title,genres\n307,"Trois couleurs: Bleu, The ""Blue"" One (1993)",Drama|Music\n'
    "9,Caf\u00e9 (2009\u2013 ),(no genres listed)\n",
    "tags.csv": "userId,movieId,tag,timestamp\n",
}
LASTFM_HETREC: Files = {
    "user_artists.dat": "userID\tartistID\tweight\r\n2\t51\t13883\r\n2\t52\t1\r\n3\t51\t352698\r\n3\t53\t7\r\n",
    "artists.dat": "id\tname\turl\tpictureURL\r\n51\t311\thttp://x\thttp://y\r\n52\tSigur R\u00f3s\thttp://x\t\r\n"
    "54\tNobody's\thttp://x\t\r\n53\t\"Quoted\thttp://x\t\r\n",
    "tags.dat": "tagID\ttagValue\r\n1\tm\u00e9tal\r\n2\trock\r\n3\tseen live\r\n".encode("latin-1"),
    "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\r\n2\t51\t1\t1\t4\t2009\r\n"
    "2\t51\t2\t1\t4\t2009\r\n3\t51\t2\t1\t4\t2009\r\n3\t99\t3\t1\t4\t1956\r\n",
    "readme.txt": "x",
}
LASTFM_1K: Files = {
    "userid-timestamp-artid-artname-traid-traname.tsv": "user_000001\t2009-05-04T23:08:57Z\tf1b1\tDeep Dish\t\tFlash\n"
    'user_000001\t2009-05-04T13:54:10Z\t\t\u5742\u672c\t\tOne "quote\n'
    "user_000001\t2009-05-04T13:54:10Z\ta7f7\t311\tt\tTwo\ttabs\n"
    "user_000002\t2006-08-13T13:59:20Z\ta7f7\t311\tt\tOther\n",
    "userid-profile.tsv": "#id\tgender\n",
}
LAYOUTS: dict[str, Files] = {
    "lastfm-hetrec": LASTFM_HETREC,
    "lastfm-1k": LASTFM_1K,
    "movielens-10m": MOVIELENS_10M,
    "movielens-csv": MOVIELENS_CSV,
    "amazon-2014": AMAZON_2014,
    "amazon-2018": AMAZON_2018,
    "amazon-2023": AMAZON_2023,
}

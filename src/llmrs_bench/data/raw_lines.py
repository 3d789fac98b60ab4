"""How the files of a data set write an item and an event: what a model may know by heart."""

from dataclasses import dataclass

from llmrs_bench.data.titles import article_last


@dataclass(frozen=True, slots=True)
class RawLines:
    """The lines of two files, of items and of events, as far as they hold ids, titles, ratings and times.

    A line of items begins with the id, then the title; one of events with the user, then the item. What follows a title
    is not written. A data source declares its layout as the attribute `raw_lines`.

    Args:
        name: What the layout is called in results.
        items: What stands above the lines of items: the name of the file, or its header.
        events: What stands above the lines of events.
        between_items: What separates the fields of an item.
        between_events: What separates the fields of an event.
        quoted: Whether each field stands in double quotes.
        csv: Whether a field that holds the separator stands in double quotes.
        articles_last: Whether titles are written as "Matrix, The".
        rating: How a rating is written, as a format specification of Python.
    """

    name: str
    items: str
    events: str
    between_items: str
    between_events: str
    quoted: bool = False
    csv: bool = False
    articles_last: bool = False
    rating: str = "g"

    def before_title(self, item_id: str) -> str:
        """Return a line of items up to its title: `1193::`."""
        return self._start(item_id) + (f'{self.between_items}"' if self.quoted else self.between_items)

    def title(self, title: str) -> str:
        """Return a title as the file has it, without a quote that would end it."""
        text = article_last(title) if self.articles_last else title
        if self.csv and (self.between_items in text or '"' in text):
            return '"' + text.replace('"', '""')
        return text

    def before_item(self, user_id: str) -> str:
        """Return a line of events up to its item: `1::`."""
        return self._start(user_id) + (f'{self.between_events}"' if self.quoted else self.between_events)

    def before_rating(self, user_id: str, item_id: str) -> str:
        """Return a line of events up to what follows its item: `1::1193::`."""
        end = f'"{self.between_events}"' if self.quoted else self.between_events
        return f"{self.before_item(user_id)}{item_id}{end}"

    def after_item(self, rating: float | None, timestamp: int | None) -> str:
        """Return what follows the item in a line of events, `5::978300760`; nothing where nothing is known."""
        known = [*([] if rating is None else [format(rating, self.rating)])]
        known += [] if timestamp is None else [str(timestamp)]
        return (f'"{self.between_events}"' if self.quoted else self.between_events).join(known)

    def from_item(self, item_id: str, rest: str) -> str:
        """Return a line of events from its item on, given what follows that: `1193::5::978300760`."""
        end = f'"{self.between_events}"' if self.quoted else self.between_events
        return f"{item_id}{end}{rest}" if rest else item_id

    def _start(self, text: str) -> str:
        return f'"{text}"' if self.quoted else text


GENERIC = RawLines(
    name="generic CSV",
    items="item_id,title",
    events="user_id,item_id,rating,timestamp",
    between_items=",",
    between_events=",",
    csv=True,
)

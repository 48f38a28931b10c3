"""What the drill itself says, in two languages."""

WORDS = {
    "en": {
        "question": "Question {number} of {count}",
        "left": "Left; the marks given so far are kept.",
        "aloud": "Answer aloud. A key when you have finished (q leaves)",
        "took": "{time}; the aim is about {aim}",
        "next": "A key for the next follow-up question",
        "answer": "Answer, then a key",
        "full": "A key to mark yourself, f for the full answer before",
        "mark": "How was it, from 1 (nothing) to 5 (every follow-up)?",
        "no mark": "No mark: the input has ended.",
        "minutes": "{minutes} min {seconds:02} s",
        "seconds": "{seconds} s",
        "figure": "Figure",
        "columns": ("question", "asked", "last mark", "last time", "answer took", "need"),
        "no page": "no page",
        "about": "A question without a page in this language is not drawn. "
        "Need grows with time and with bad marks.",
        "history": "History: {path}",
    },
    "ru": {
        "question": "Вопрос {number} из {count}",
        "left": "Вы вышли; выставленные оценки сохранены.",
        "aloud": "Отвечайте вслух. Закончив, нажмите клавишу (q — выйти)",
        "took": "{time}; цель — около {aim}",
        "next": "Любая клавиша — следующий дополнительный вопрос",
        "answer": "Ответьте и нажмите клавишу",
        "full": "Любая клавиша — поставить себе оценку, f — сначала прочитать полный ответ",
        "mark": "Как вы ответили, от 1 (никак) до 5 (и на все дополнительные вопросы)?",
        "no mark": "Оценки нет: ввод закончился.",
        "minutes": "{minutes} мин {seconds:02} с",
        "seconds": "{seconds} с",
        "figure": "Рисунок",
        "columns": ("вопрос", "задан", "оценка", "когда", "время", "нужность"),
        "no page": "нет страницы",
        "about": "Вопрос без страницы на этом языке не задаётся. "
        "Нужность растёт со временем и от низких оценок.",
        "history": "История ответов: {path}",
    },
}


def spoken(seconds: float, language: str = "en") -> str:
    """A duration in words: 2 min 05 s."""
    minutes, rest = divmod(round(seconds), 60)
    return WORDS[language]["minutes" if minutes else "seconds"].format(minutes=minutes, seconds=rest)
